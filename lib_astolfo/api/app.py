"""The app of ``serve``: the routes, then the tab."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import FastAPI

import lib_astolfo

from .routes import router
from .security import Wall

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

TITLE = "Astolfo"
WORDS = "Finetune, merge live, sample right, search the ratio and bake, for SD1.5 and SDXL."


def create_app(
    workspace: Workspace,
    *,
    mount: Callable[[FastAPI, Workspace], FastAPI] | None = None,
    local_only: bool = False,
) -> FastAPI:
    """/astolfo/v1/* and /docs, and what ``mount`` adds behind them (``lib_astolfo.ui.server.mount``: page and script).

    ``local_only``: answer only to this machine's own names, for a server that listens on 127.0.0.1.
    """
    app = FastAPI(title=TITLE, description=WORDS, version=lib_astolfo.__version__)
    app.include_router(router(workspace))
    if mount is not None:
        app = mount(app, workspace)
    app.add_middleware(Wall, credentials=workspace.host.credentials, local_only=local_only)
    return app
