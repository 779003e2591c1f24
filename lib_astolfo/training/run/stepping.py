"""One step after another: drawn, computed pass by pass in turns with pictures, closed, told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lib_astolfo.training.optim.report import Report
from lib_astolfo.training.run import step as steps
from lib_astolfo.training.run.dataset import Dataset
from lib_astolfo.training.run.gather import Gather
from lib_astolfo.training.run.grads import Part
from lib_astolfo.training.run.seen import StepSeen
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.run.step import Step, When
from lib_astolfo.training.run.timeline import Place, Timeline
from lib_astolfo.training.run.trainer import Trainer
from lib_astolfo.training.run.turns import Turns

Between = Callable[[], None]


class Stepping:
    """Steps of a run. ``attempt``: roll-backs so far; ``scale``: what they left of the learning rates; ``told``: ids of
    pictures whose putting aside was told."""

    def __init__(
        self, settings: RunSettings, dataset: Dataset, timeline: Timeline, turns: Turns, gather: Gather
    ) -> None:
        self.settings, self.dataset, self.timeline = settings, dataset, timeline
        self.turns, self.gather = turns, gather
        self.attempt, self.scale = 0, 1.0
        self.told: set[str] = set()

    def make(self, trainer: Trainer, number: int, between: Between) -> StepSeen:
        """Make step ``number``. ``between`` is called without the lock between passes and may raise; then, and when the
        model is ``Away``, the step was not made.
        """
        place = self.timeline.place(number)
        batch = self.timeline.batch(place)
        taught = number < self.settings.distill_until * self.timeline.total
        seeing = self.dataset.phases[place.phase]
        when = When(number, place.epoch, self.attempt, taught)
        step = steps.draw(self.settings, seeing.settings, seeing.trained, batch, when)
        parts = steps.passes(batch, self.settings.batch, self.gather.rank, self.gather.processes)
        rates = self._open(trainer, place, len(parts))
        try:
            made, report, seconds = self._passes(trainer, step, parts, between)
        except BaseException:
            trainer.optimiser.drop()
            raise
        found = self._joined(step, made)
        bad = {name: why for item, (name, why) in trainer.grads.latents.bad.items() if item not in self.told}
        self.told.update(trainer.grads.latents.bad)
        return _seen(step, place, found, report, rates, (bad, seconds))

    def _open(self, trainer: Trainer, place: Place, passes: int) -> Mapping[str, float]:
        phase = self.settings.phases.phases[place.phase]
        if place.opens_phase and place.phase and self.settings.plan.restart:
            trainer.optimiser.restart()
        active = self.timeline.active(place)
        trainer.freeze(active, phase.text_encoder)
        rates = self.timeline.rates(place, self.scale)
        trainer.begin(place.step, rates, passes)
        return {group: rate if active[group] else 0.0 for group, rate in rates.items() if group not in trainer.lost}

    def _passes(
        self, trainer: Trainer, step: Step, parts: list[tuple[int, ...]], between: Between
    ) -> tuple[list[Part], Report, float]:
        """All passes; the weights are updated in the turn of the last one."""
        made, seconds, gather = [], 0.0, self.gather
        for at in range(max(len(parts), 1)):
            if at:
                between()
            with self.turns.working(trainer.model, trainer.form):
                began = time.perf_counter()
                if at < len(parts):
                    made.append(trainer.compute(step, parts[at]))
                last = at + 1 >= len(parts)
                report = trainer.close_step(gather) if last else None
                seconds += time.perf_counter() - began
        assert report is not None
        return made, report, seconds

    def _joined(self, step: Step, made: list[Part]) -> Tensor:
        """[3, B] float64: whether a row is there, its loss, its weighted loss, over all processes."""
        found = torch.zeros(3, len(step), dtype=torch.float64)
        for part in made:
            rows = list(part.rows)
            found[0, rows] = 1.0
            found[1, rows], found[2, rows] = part.raw, part.weighted
        return self.gather.sum(found)


def _seen(
    step: Step,
    place: Place,
    found: Tensor,
    report: Report,
    rates: Mapping[str, float],
    more: tuple[Mapping[str, str], float],
) -> StepSeen:
    rows = [row for row in range(len(step)) if found[0, row]]
    return StepSeen(
        place.step,
        place.epoch,
        place.phase,
        tuple(step.names[row] for row in rows),
        steps.rows_of(step.moments, rows),
        found[1, rows],
        found[2, rows],
        step.taught[rows],
        step.dropped[rows],
        report,
        rates,
        *more,
    )
