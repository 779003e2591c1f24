"""What the loop tells the others: what a step saw and did, and how a person's hand reaches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from lib_astolfo.training.optim.report import Report
from lib_astolfo.training.times import Moments


@dataclass(frozen=True, eq=False)
class StepSeen:
    """One optimiser step. Rows are the pictures of the whole step, over all passes and processes, in the order of the
    batch; those that were left out (``quarantined``) have no row.

    Attributes:
        step: its number, 0 the first; after a roll-back numbers come again. ``epoch`` from 0. ``phase`` of the plan.
        names: of the rows, ``Seen.name``.
        moments: their noise levels.
        raw: the loss of each before weights, mask included, float64 [B] on the CPU. ``weighted``: what was trained on:
            times the noise level's weight and the picture's own. Both may hold what is not finite if the step was
            skipped.
        distilled: rows whose target was the teacher's, bool [B]. ``dropped``: rows whose caption was left out.
        report: the optimiser's. ``rates``: learning rate of each group; 0 is frozen in this epoch.
        quarantined: file name -> why, of pictures found unusable in this step.
        seconds: that the step took, without waiting.
    """

    step: int
    epoch: int
    phase: int
    names: tuple[str, ...]
    moments: Moments
    raw: Tensor
    weighted: Tensor
    distilled: Tensor
    dropped: Tensor
    report: Report
    rates: Mapping[str, float]
    quarantined: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def skipped(self) -> bool:
        """Whether nothing was learned in it."""
        return bool(self.report.skipped)

    @property
    def loss(self) -> float:
        """The mean over the pictures of what was trained on."""
        return float(self.weighted.mean()) if len(self.weighted) else float("nan")


#: What ``Control.turn`` raises ``Stopped`` for: ``stop`` keeps what was trained, ``discard`` does not, ``shutdown``
#: ends the program and is gone on from later.
REASONS = ("stop", "discard", "shutdown")


class Control(Protocol):
    """The hand on a running training. A job's task is one behind a thin coat; so is Ctrl-C on the command line."""

    @property
    def paused(self) -> bool:
        """Whether a pause is asked for; looked at before each ``turn``."""

    @property
    def reason(self) -> str:
        """One of ``REASONS`` once the work was asked to end, else ""."""

    def turn(self, done: int, total: int, text: str = "") -> None:
        """Between two steps, without the host's lock: note the progress, wait here while paused if ``paused`` said so,
        raise ``Stopped`` when asked to end. The loop looks at ``paused`` before, and then saves a checkpoint; a pause
        that is asked for between the two waits for the next turn."""

    def report(self, done: int, total: int, text: str = "") -> None:
        """Note the progress without waiting; may raise ``Stopped``. Inside the lock and during preparation."""

    def event(self, text: str, **data: object) -> None:
        """Something people should know at once; ``data`` must be JSON."""


class Free:
    """A control that nobody holds: the run goes on to its end. ``said`` keeps the events."""

    paused = False
    reason = ""

    def __init__(self) -> None:
        self.said: list[str] = []

    def turn(self, done: int, total: int, text: str = "") -> None:
        """Nothing is asked."""

    def report(self, done: int, total: int, text: str = "") -> None:
        """Nobody looks."""

    def event(self, text: str, **data: object) -> None:
        """Keep it."""
        self.said.append(text)
