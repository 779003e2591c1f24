"""What a merge will need, told before it runs; with ``preview`` that is all: a sample is computed, no file made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task
    from lib_astolfo.merging.preflight import Preflight
    from lib_astolfo.merging.preview import Preview
    from lib_astolfo.merging.recipe import Recipe

    from .merge import MergeSettings
    from .workspace import Workspace


def look(
    recipe: Recipe,
    resolve: Callable[[str], Path],
    folder: Path,
    settings: MergeSettings,
    workspace: Workspace,
    task: Task,
) -> tuple[Preflight, Preview | None]:
    """The preflight, noted in the job's events; the preview, if the settings ask for it. Errors: BadInput, Failed."""
    from lib_astolfo.merging import preflight

    found, seen = preflight.check(
        recipe,
        resolve,
        folder,
        threads=settings.threads,
        say=workspace.said,
        known=lambda path: workspace.digests.known(path) or workspace.memory.hash_of(path),
        digest=workspace.digests,
        share=settings.share if settings.preview else None,
        device=settings.device,
        progress=task.progress,
    )
    task.event("; ".join(found.lines()[len(found.models) :]), preflight=found.to_dict())
    return found, seen


def result(found: Preflight, seen: Preview) -> dict[str, Any]:
    """Plain values, and both as text under ``summary``."""
    text = "\n".join([*found.lines(), *seen.lines()])
    return {"preflight": found.to_dict(), "preview": seen.to_dict(), "summary": text}
