"""The app of ``serve``: routes, the browser side's files, then the tab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace


def create_app(workspace: Workspace, *, tab: bool = True) -> FastAPI:
    """/astolfo/v1/*, /docs, and with ``tab`` what ``lib_astolfo.ui.server.mount`` adds: page and script."""
    raise NotImplementedError
