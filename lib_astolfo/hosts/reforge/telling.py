"""An error's words in reForge's page.

reForge draws for its page in one thread, which prints what is raised there and answers None; the page then says
"'NoneType' object is not iterable" for whatever it was (modules_forge/main_thread.py:25-40, modules/call_queue.py:74).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any


class Refused:
    """Stands where the page's answer would: taking it apart raises the reason."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __iter__(self) -> Iterator[Any]:
        raise self.error


def tell(error: Exception) -> None:
    """Leave the error as the answer of the task that is at work in this thread; nothing where there is none (the API).

    A task that ends well writes its own answer over it.
    """
    task = current_task()
    if task is not None:
        task.result = Refused(error)


def current_task() -> Any:
    """The task of reForge's main thread whose work called this, or None."""
    from modules_forge.main_thread import Task

    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code is Task.work.__code__:
            return frame.f_locals["self"]
        frame = frame.f_back  # type: ignore[assignment]
    return None
