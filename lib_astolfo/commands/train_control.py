"""A job's task, or the terminal's, as the hand on a running training (``training.run.seen.Control``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

#: What is asked of a job -> what a training is told.
REASONS = {"stop": "stop", "cancel": "discard", "shutdown": "shutdown"}


class TaskControl:
    """A pause that is asked for between the loop's look at ``paused`` and its ``turn`` waits for the next turn: the
    loop saves a checkpoint before it is held, and who kills a paused training loses nothing.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._seen = False

    @property
    def paused(self) -> bool:
        self._seen = self._task.asked == "pause"
        return self._seen

    @property
    def reason(self) -> str:
        return REASONS.get(self._task.asked, "")

    def turn(self, done: int, total: int, text: str = "") -> None:
        """Errors: Stopped."""
        if self._task.asked == "pause" and not self._seen:
            self._task.report(done, total, text)
        else:
            self._task.progress(done, total, text)

    def report(self, done: int, total: int, text: str = "") -> None:
        """Errors: Stopped."""
        self._task.report(done, total, text)

    def event(self, text: str, **data: object) -> None:
        self._task.event(text, **data)
