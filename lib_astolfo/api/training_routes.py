"""Routes of trainings beside POST /train: which there are, their files, and what is done with them afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse

from lib_astolfo.commands import kohya, settings, train_after, train_curves, train_runs, train_views
from lib_astolfo.jobs import Job

from . import describe
from .bodies import json_body
from .files import answer_with

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

_OBJECT: dict[str, Any] = {"type": "object"}
AFTER = {
    "resume": ("Go on with a training", "From its last checkpoint, after a crash too; the body changes its settings."),
    "grid": ("Grid over a training's snapshots", "Ratio x uncond over its snapshots; the body has keys of POST /grid."),
    "bake": (
        "Bake a training's snapshot",
        "`ratio` and `snapshot` (a step; empty is the last), and keys of POST /bake.",
    ),
}


def add(router: APIRouter, workspace: Workspace) -> None:
    """Put them on the router."""
    _add_views(router, workspace)
    _add_curves(router, workspace)
    _add_kohya(router, workspace)
    for act in AFTER:
        _add_after(router, workspace, act)


def _add_views(router: APIRouter, workspace: Workspace) -> None:
    @router.get("/training", summary="Trainings, the last first", responses=describe.answers(_OBJECT))
    def trainings() -> dict[str, Any]:
        """`active` is the one that has the model, null without one; `runs` are all whose folders are there."""
        return train_views.overview(workspace)

    @router.get("/training/{name}", summary="One training", responses=describe.answers(_OBJECT, also=(404,)))
    def training(name: str) -> dict[str, Any]:
        """Its settings, snapshots and files. The name of the run, or the id of one of its jobs."""
        return train_views.one(workspace, name)

    @router.delete(
        "/training/{name}", summary="Delete a training's files", responses=describe.answers(_OBJECT, also=(404, 409))
    )
    def delete(name: str) -> dict[str, Any]:
        """Checkpoints, snapshots and all; baked files stay."""
        return train_runs.delete(workspace, name)

    @router.get(
        "/training/{name}/files/{file:path}",
        summary="A file of a training",
        response_class=FileResponse,
        responses=describe.answers(also=(404,)),
    )
    def file(name: str, file: str) -> FileResponse:
        """History, curves, previews, snapshots; the names are in the training's `files`."""
        return answer_with(train_runs.file(workspace, name, file))


def _add_curves(router: APIRouter, workspace: Workspace) -> None:
    @router.get(
        "/training/{name}/curves", summary="How a training goes", responses=describe.answers(_OBJECT, also=(404,))
    )
    def curves(name: str, mark: str = "", points: int = train_curves.POINTS) -> dict[str, Any]:
        """Losses by noise level, validation, drift and alarms; with the `mark` of the last answer only what is new."""
        return train_curves.curves(workspace, name, mark, points)


def _add_kohya(router: APIRouter, workspace: Workspace) -> None:
    example = {"text": "accelerate launch sdxl_train.py --learning_rate=1e-5 --v_parameterization …", "more": []}

    @router.post(
        "/kohya",
        summary="Read a training of kohya's sd-scripts",
        responses=describe.answers(_OBJECT),
        openapi_extra=describe.body(_OBJECT, example),
    )
    def read(values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        """`text` is a command line or toml, `more` further texts that belong to it. `values` go to POST /train;
        `left`, `inert`, `differs` and `carried` say what became of every option."""
        return kohya.run(settings.from_dict(kohya.KohyaSettings, values), workspace)


def _add_after(router: APIRouter, workspace: Workspace, act: str) -> None:
    summary, words = AFTER[act]

    def start(name: str, values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        return train_after.submit(workspace, act, name, values).to_dict()

    router.add_api_route(
        f"/training/{{name}}/{act}",
        start,
        methods=["POST"],
        status_code=202,
        summary=summary,
        description=words,
        operation_id=f"astolfo_training_{act}",
        responses=describe.answers(Job, 202, also=(404, 503)),
        openapi_extra=describe.body(_OBJECT, {}),
    )
