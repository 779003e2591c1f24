"""``train report=true``: what a training will see and need, told before it starts; nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .train_settings import TrainSettings
    from .workspace import Workspace


def report(settings: TrainSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """The data, the options that do nothing, the steps. Errors: BadInput."""
    raise NotImplementedError
