"""Back to the last good state: which one that is, and what is different afterwards."""

from __future__ import annotations

from lib_astolfo.training.run.keeping import Keeping
from lib_astolfo.training.run.preparing import Work
from lib_astolfo.training.watch.alarms import Alarm
from lib_astolfo.training.watch.guards import span

MARGIN = 20  # steps before a jump was seen that its cause may lie


def trusted(work: Work, alarm: Alarm | None, done: int) -> int:
    """The last step whose state is taken for good: before those that were skipped; a jump was seen some steps late, a
    divergence windows late, a collapse at the next preview."""
    settings = work.given.settings
    late = {
        "nonfinite": settings.guards.skips,
        "jump": MARGIN,
        "divergence": 2 * span(settings.watch.window, settings.total),
        "collapse": settings.previews.every,
        "learned_by_heart": 3 * settings.watch.validation.every,
        "drift": settings.watch.drift.every,
    }
    return max(done - late.get(alarm.kind if alarm is not None else "", 0), 0)


def roll_back(work: Work, keeping: Keeping, alarm: Alarm | None, done: int) -> int | None:
    """Take up the newest state that is trusted, or the beginning, with lower learning rates and other draws.

    Returns the steps that are made by it, or None if this was done as often as ``guards.rollbacks`` says.
    """
    guards, stepping, gather = work.given.settings.guards, work.stepping, work.given.gather
    attempt, scale = stepping.attempt + 1, stepping.scale * guards.rate
    if attempt > guards.rollbacks:
        return None
    limit = trusted(work, alarm, done)
    if gather.processes > 1:
        import torch

        limit = int(gather.sum(torch.tensor([float(limit if gather.rank == 0 else 0)], dtype=torch.float64)))
    state = work.store.load(limit)
    if state is None:
        work.anew()
    else:
        work.restore(state)
    before = state.step if state is not None else 0
    stepping.attempt, stepping.scale = attempt, scale
    keeping.cut(before)
    if work.watched is not None:
        work.watched.watch.cut(before)
        if alarm is not None:
            work.watched.watch.rolled_back(alarm, before)
    keeping.save(before)
    return before
