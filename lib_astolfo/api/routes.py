"""The REST routes under /astolfo/v1. They hold no logic: each calls one function of ``commands`` or ``jobs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBasic

from . import job_routes, memory_routes, model_routes, search_routes, training_routes
from .bodies import Route
from .security import NO_LOGIN, OTHER_SITE, PASSED, SAFE, Refused, allowed, cross_site

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

PREFIX = "/astolfo/v1"


class Described(HTTPBasic):
    """Tells /docs that routes take HTTP basic; ``security`` reads the header, as UTF-8 (RFC 7617)."""

    async def __call__(self) -> None:  # type: ignore[override]
        return None


def router(workspace: Workspace) -> APIRouter:
    """All routes; include it into any FastAPI app before gradio is mounted at /."""

    def guard(
        request: Request,
        shown: None = Depends(Described(scheme_name="HTTPBasic")),
    ) -> None:
        if request.scope.get(PASSED):
            return
        host = workspace.host
        if not allowed(host.credentials(), request.headers, getattr(host, "session", None)):
            raise Refused(*NO_LOGIN)
        if request.method not in SAFE and cross_site(request.headers):
            raise Refused(*OTHER_SITE)

    made = APIRouter(prefix=PREFIX, tags=["Astolfo"], route_class=Route, dependencies=[Depends(guard)])
    job_routes.add(made, workspace)
    model_routes.add(made, workspace)
    memory_routes.add(made, workspace)
    training_routes.add(made, workspace)
    search_routes.add(made, workspace)
    return made
