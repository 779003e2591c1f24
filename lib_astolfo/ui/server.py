"""Serving the tab by itself: the page at /, its script and style beside the REST routes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lib_astolfo.commands.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "javascript"
STYLE = ROOT / "style.css"

ALONE = """
.gradio-container, .gradio-container .fillable { max-width: 1700px !important; }
footer { display: none !important; }
"""
"""What the page wants only where it is not inside a WebUI."""


def style() -> str:
    """The style sheet; a WebUI loads the same file by itself."""
    return STYLE.read_text(encoding="utf-8") + ALONE


def add_static(app: FastAPI) -> FastAPI:
    """Serve the page's script at ``/astolfo/static``; needed in a WebUI too."""
    from fastapi.staticfiles import StaticFiles

    app.mount("/astolfo/static", StaticFiles(directory=STATIC), name="astolfo static")
    return app


def mount(app: FastAPI, workspace: Workspace) -> FastAPI:
    """Put the tab at / of an app whose REST routes stand already (what is mounted at / hides later routes)."""
    from . import compat
    from .build import build

    add_static(app)
    return compat.mount(app, build(workspace), style())
