"""Routes of grids and searches beside POST /grid and POST /search: looking at their pictures, and votes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, Response

from lib_astolfo.commands import settings, studies, votes
from lib_astolfo.errors import Unknown

from . import describe
from .bodies import json_body
from .files import answer_with

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

_OBJECT: dict[str, Any] = {"type": "object"}
_LIST = {"type": "array", "items": _OBJECT}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The page may load what this server has, and nothing that is written into it may run."""
PARTS = {".js": "text/javascript", ".css": "text/css"}


def add(router: APIRouter, workspace: Workspace) -> None:
    """Put them on the router."""
    _add_views(router, workspace)
    _add_page(router, workspace)
    _add_votes(router, workspace)


def _add_views(router: APIRouter, workspace: Workspace) -> None:
    @router.get("/studies", summary="Grids and searches that can be looked at", responses=describe.answers(_LIST))
    def listing() -> list[dict[str, Any]]:
        """The one that was changed last comes first; `id` is a job's, or a folder's name with `:` for `/`."""
        return studies.listing(workspace)

    @router.get(
        "/studies/{study}/view", summary="Cells, scores, axes", responses=describe.answers(_OBJECT, also=(404,))
    )
    def view(study: str, mark: str = "") -> dict[str, Any]:
        """What there is so far, while it runs too; with the `mark` of the last answer `view` only where it changed."""
        return studies.view(workspace, study, mark)

    @router.get(
        "/studies/{study}/files/{name:path}",
        summary="A file of a study",
        response_class=FileResponse,
        responses=describe.answers(also=(404,)),
    )
    def file(study: str, name: str) -> FileResponse:
        """A cell's sheet of pictures (`picture` in the view), and what the study has written besides."""
        return answer_with(studies.file(workspace, study, name))


def _add_page(router: APIRouter, workspace: Workspace) -> None:
    @router.get("/studies/{study}/look", summary="The page to look at a study", responses=describe.answers(also=(404,)))
    def page(study: str) -> Response:
        """Grid, zoom, compare, wipe, blend, flicker, differences, votes. Opened in a browser."""
        from lib_astolfo.search import look_page

        several: list[str] = []
        try:
            studies.find(workspace, study)
        except Unknown:
            several = studies.inside(workspace, study)
            if not several:
                raise
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        headers["Referrer-Policy"] = "no-referrer"
        made = look_page.listing(several) if several else look_page.served()
        return Response(made, media_type="text/html", headers=headers)

    @router.get("/look/{name}", summary="A part of that page", responses=describe.answers(also=(404,)))
    def part(name: str) -> Response:
        """Its scripts and its style."""
        from lib_astolfo.search import look_page

        path = look_page.part(name)
        if path is None:
            raise Unknown("name", repr(name), "a script or style of the page")
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        return FileResponse(path, media_type=PARTS[path.suffix], headers=headers)


def _add_votes(router: APIRouter, workspace: Workspace) -> None:
    both = describe.answers(_OBJECT, also=(404,))

    @router.get("/studies/{study}/ballot", summary="The next comparison", responses=both)
    def ballot(study: str, voter: str = "") -> dict[str, Any]:
        """Two cells and which of their pictures, for this voter; `ballot` is null when all have been made."""
        return votes.next_ballot(workspace, study, voter)

    @router.get("/studies/{study}/votes", summary="What the votes say", responses=both)
    def tally(study: str) -> dict[str, Any]:
        """Bradley-Terry strengths with ties and 95 % intervals, Elo, how far voters agree."""
        return votes.table(studies.find(workspace, study))

    @router.post(
        "/studies/{study}/votes",
        summary="Vote",
        responses=both,
        openapi_extra=describe.body(votes.Ballot, {"first": "a1…", "second": "b2…", "picture": 0, "answer": "first"}),
    )
    def cast(study: str, values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        """Kept on the disk before the answer, which is the next comparison."""
        return votes.cast(workspace, study, settings.from_dict(votes.Ballot, values))

    @router.delete("/studies/{study}/votes", summary="Take back one's last vote", responses=both)
    def undo(study: str, voter: str = "") -> dict[str, Any]:
        """The comparison comes again; the vote's line stays in the file, with one that takes it back."""
        return votes.undo(workspace, study, voter)

    @router.post("/studies/{study}/report", summary="Write the report anew, with the votes", responses=both)
    def report(study: str) -> dict[str, Any]:
        """Kind to file name; the files are those of the study."""
        return {"files": votes.rewrite(studies.find(workspace, study))}
