"""One training in several processes: ``accelerate launch -m lib_astolfo train run.yaml``, or torchrun.

Each process has a host of its own on a device of its own. The first one writes and talks; the others keep quiet and
end when it does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task


def processes() -> int:
    """How many a launcher has started; nothing is imported for it."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Which of them this one is; 0 writes and talks."""
    return _number("RANK", 0) if processes() > 1 else 0


def device(asked: str) -> str:
    """The device of this process where there are several, and several GPUs."""
    import torch

    local = _number("LOCAL_RANK", 0)
    if processes() > 1 and asked in ("auto", "cuda") and local < torch.cuda.device_count():
        return f"cuda:{local}"
    return asked


def _number(name: str, default: int) -> int:
    said = os.environ.get(name, "")
    return int(said) if said.isdigit() else default


class Quiet:
    """The task of a process that is not the first: it draws no bars and makes no folder, and ends when it is told."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.job_id = task.job_id

    @property
    def folder(self) -> Path:
        return self._task.folder

    @property
    def asked(self) -> str:
        return self._task.asked

    @property
    def cancelled(self) -> bool:
        return self._task.cancelled

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Nothing is drawn; the first process says when it is over."""

    def report(self, done: int, total: int, text: str = "") -> None:
        """Nothing is drawn."""

    def event(self, text: str, **data: Any) -> None:
        """The first process says it."""
