"""Learning rates over a run: pure functions of the step, so that a resumed run goes on with the right one.

A factor of the peak rate is made of two parts: the warm-up, linear, then a curve from 1 to ``floor``. Beyond the end of
the curve the rate stays where the curve ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lib_astolfo.errors import BadInput


@dataclass(frozen=True)
class Schedule:
    """``kind``: a name in ``CURVES``. ``steps``: the whole length, warm-up included. ``warmup``: its steps; the rate
    grows by equal parts and reaches the peak with the first step after them. ``floor``: share of the peak at the end.
    ``cycles``: of ``cosine_restarts``. ``stretch``: of ``cosine``: it is cut off at 1 / stretch of its way."""

    kind: str = "constant"
    steps: int = 1000
    warmup: int = 0
    floor: float = 0.1
    cycles: int = 1
    stretch: float = 1.0


def _bend(share: float) -> float:
    """Half a cosine, from 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * share)) / 2


def _constant(progress: float, schedule: Schedule) -> float:
    return 1.0


def _linear(progress: float, schedule: Schedule) -> float:
    return 1 - progress


def _cosine(progress: float, schedule: Schedule) -> float:
    return _bend(progress / schedule.stretch)


def _restarts(progress: float, schedule: Schedule) -> float:
    """At the very end the last cycle's end, not the start of one more (kohya sd-scripts, issue 141: 0 from there)."""
    return 0.0 if progress >= 1 else _bend(progress * schedule.cycles % 1)


#: name -> curve: (share of the way after the warm-up, 0 to 1; schedule) -> share of the way from floor to peak.
CURVES: dict[str, Callable[[float, Schedule], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_restarts": _restarts,
}


def check(schedule: Schedule) -> None:
    """Raise BadInput for a schedule that cannot be followed."""
    if schedule.kind not in CURVES:
        raise BadInput("schedule.kind", repr(schedule.kind), f"one of {', '.join(CURVES)}")
    if schedule.steps < 1:
        raise BadInput("schedule.steps", schedule.steps, "1 or more")
    if not 0 <= schedule.warmup <= schedule.steps:
        raise BadInput("schedule.warmup", schedule.warmup, f"0 to steps ({schedule.steps})")
    if not 0 <= schedule.floor <= 1:
        raise BadInput("schedule.floor", schedule.floor, "a share of the peak, 0 to 1")
    if schedule.cycles < 1:
        raise BadInput("schedule.cycles", schedule.cycles, "1 or more")
    if not (schedule.stretch >= 1 and math.isfinite(schedule.stretch)):
        raise BadInput("schedule.stretch", schedule.stretch, "1 or more")


def factor(schedule: Schedule, step: int) -> float:
    """Share of the peak rate at a step, the first being 0: above 0, except where ``floor`` is 0, at the end."""
    if step < schedule.warmup:
        return (step + 1) / (schedule.warmup + 1)
    way = schedule.steps - schedule.warmup
    progress = min((step - schedule.warmup) / way, 1.0) if way else 1.0
    return schedule.floor + (1 - schedule.floor) * CURVES[schedule.kind](progress, schedule)


def notes(schedule: Schedule, last: int) -> tuple[str, ...]:
    """Options without effect, and a rate that would be 0. ``last``: number of the last step that will be made."""
    found = []
    if schedule.kind == "constant" and schedule.floor != Schedule.floor:
        found.append("floor has no effect with constant")
    if schedule.cycles != 1 and schedule.kind != "cosine_restarts":
        found.append(f"cycles has no effect with {schedule.kind}")
    if schedule.stretch != 1 and schedule.kind != "cosine":
        found.append(f"stretch has no effect with {schedule.kind}")
    if last >= schedule.steps and factor(schedule, last) < 1e-9:
        found.append(f"the learning rate is 0 from step {schedule.steps} on; floor above 0 keeps it alive")
    return tuple(found)
