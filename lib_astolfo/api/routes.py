"""The REST routes under /astolfo/v1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace


def router(workspace: Workspace) -> APIRouter:
    """All routes; include it into any FastAPI app before gradio is mounted at /."""
    raise NotImplementedError
