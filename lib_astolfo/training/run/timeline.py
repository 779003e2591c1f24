"""Where each step of a run lies: phase, epoch, batch, learning rates. Pure functions of the settings and the pictures.

As ``optim.phases``, with epochs of different lengths (fractional repeats) and an end at a number of steps.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.order import Batch, Order
from lib_astolfo.training.optim.phases import schedule_of
from lib_astolfo.training.optim.schedules import factor
from lib_astolfo.training.run.settings import RunSettings


@dataclass(frozen=True)
class Place:
    """A step: ``phase`` and ``epoch`` of the run, ``batch`` within the epoch, ``at`` within the phase of ``length``."""

    step: int
    phase: int
    epoch: int
    batch: int
    at: int
    length: int

    @property
    def opens_phase(self) -> bool:
        """Whether it is the first of its phase."""
        return self.at == 0


class Timeline:
    """All steps of a run. ``orders``: the order of pictures of each phase; epochs are counted through the run.

    Raises BadInput where a run has no step.
    """

    def __init__(self, settings: RunSettings, orders: Sequence[Order]) -> None:
        self.settings, self.orders = settings, tuple(orders)
        self._phase_of = [at for at, phase in enumerate(settings.phases.phases) for _ in range(phase.epochs)]
        counts = self._counts()
        self._starts = [0, *itertools.accumulate(counts)]
        whole = self._starts[-1]
        self.total = min(whole, settings.plan.steps) if settings.plan.steps else whole
        if not self.total:
            raise BadInput("plan.epochs", f"{len(self._phase_of)} epochs without one batch", "repeats, or more epochs")
        self._ends = self._phase_ends()
        self._epoch: tuple[int, list[Batch]] = (-1, [])

    def _counts(self) -> list[int]:
        """Batches of each epoch."""
        found = []
        even = {id(order): all(float(item.repeats).is_integer() for item in order.items) for order in self.orders}
        known: dict[int, int] = {}
        for epoch, phase in enumerate(self._phase_of):
            order = self.orders[phase]
            if even[id(order)] and id(order) not in known:
                known[id(order)] = order.count(0)
            found.append(known[id(order)] if even[id(order)] else order.count(epoch))
        return found

    def _phase_ends(self) -> list[int]:
        """The step after the last of each phase; a run that ends early cuts its last phase short."""
        ends, epoch = [], 0
        for phase in self.settings.phases.phases:
            epoch += phase.epochs
            ends.append(min(self._starts[epoch], self.total))
        return ends

    @property
    def epochs(self) -> int:
        """Of the run, those included that an end at a number of steps leaves out."""
        return len(self._phase_of)

    def place(self, step: int) -> Place:
        """Where a step lies, 0 the first. Raises BadInput beyond the end."""
        if not 0 <= step < self.total:
            raise BadInput("step", step, f"0 to {self.total - 1}")
        epoch = bisect.bisect_right(self._starts, step) - 1
        phase = self._phase_of[epoch]
        first = self._ends[phase - 1] if phase else 0
        return Place(step, phase, epoch, step - self._starts[epoch], step - first, self._ends[phase] - first)

    def ends_epoch(self, step: int) -> bool:
        """Whether the step is the last of its epoch."""
        return step + 1 in self._starts or step + 1 == self.total

    def batch(self, place: Place) -> Batch:
        """What the step sees, over all processes."""
        if self._epoch[0] != place.epoch:
            self._epoch = (place.epoch, self.orders[place.phase].epoch(place.epoch))
        return self._epoch[1][place.batch]

    def active(self, place: Place) -> dict[str, bool]:
        """Which groups are trained in the step's epoch, by their own epochs."""
        return {group.name: group.active(place.epoch) for group in self.settings.select}

    def rates(self, place: Place, scale: float = 1.0) -> Mapping[str, float]:
        """The learning rate of each group; ``scale``: what roll-backs left of it."""
        phases = self.settings.phases.phases
        peak, phase = max(one.rate for one in phases), phases[place.phase]
        share = factor(schedule_of(phase, max(place.length, 1)), place.at) * scale * (phase.rate / peak if peak else 0)
        return {group.name: (group.rate or peak) * share for group in self.settings.select}
