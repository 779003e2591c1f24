"""The learning rate over a run, before it starts: what the tab draws beside the schedule's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_astolfo.errors import BadInput

PER_EPOCH = 24  # points of an epoch, fewer where there are many epochs
MOST = 1200  # points in all


def plan(values: Mapping[str, Any]) -> dict[str, Any]:
    """``points``: [epoch, rate] of the first step on; ``phases``: where each begins, how long it is, its resolution,
    whether the text encoder is trained, its captions. Settings as ``train`` takes them. Errors: BadInput."""
    from lib_astolfo.training.optim.phases import rate

    from .train_settings import TrainSettings

    course = TrainSettings.from_plain(values).phases
    if not course.phases:
        raise BadInput("plan.phases", "none", "at least one")
    each = max(2, min(PER_EPOCH, MOST // course.epochs))
    counts, size = [each] * len(course.phases), course.epochs * each
    step = max(1, size // MOST)
    points = [[at / each, rate(course, counts, at)] for at in range(0, size, step)]
    phases, first = [], 0
    for phase in course.phases:
        told = {"first": first, "epochs": phase.epochs, "resolution": phase.resolution, "rate": phase.rate}
        phases.append({**told, "text_encoder": phase.text_encoder, "captions": phase.captions})
        first += phase.epochs
    return {"epochs": course.epochs, "points": points, "phases": phases}
