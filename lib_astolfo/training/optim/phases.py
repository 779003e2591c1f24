"""Runs in phases, each with its own rate, schedule, resolution, captions and text encoder; and the preset of a card.

``chained_cosine`` is the run described on the model card of MyneFactory Base (23,088 pictures, 90 epochs on one
GPU with EveryDream 2): cosines chained every ten epochs, each from a maximum of its own, the text encoder frozen in
turns. What the card leaves open stands at the preset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.schedules import Schedule, check, factor


@dataclass(frozen=True)
class Phase:
    """``epochs``: its length. ``resolution``: side of the square whose area the buckets have, pixels. ``rate``: the
    peak of the learning rate. ``kind``, ``warmup`` (share of the phase), ``floor``, ``stretch``, ``cycles``: as in
    ``schedules.Schedule``. ``text_encoder``: whether it is trained. ``captions``: which set of captions, by name."""

    epochs: int
    resolution: int
    rate: float
    kind: str = "cosine"
    warmup: float = 0.0
    floor: float = 0.1
    stretch: float = 1.0
    text_encoder: bool = True
    captions: str = "full"
    cycles: int = 1


@dataclass(frozen=True)
class Plan:
    """A whole run. ``batch``: pictures per step. ``uncond_dropout``: share of captions left out. ``shuffle_every``,
    ``save_every``: epochs. ``optimiser`` as in ``rules.RULES``; ``restart``: its state is made anew for each phase."""

    phases: tuple[Phase, ...]
    batch: int = 1
    uncond_dropout: float = 0.0
    shuffle_every: int = 0
    save_every: int = 1
    optimiser: str = "adamw"
    restart: bool = True

    @property
    def epochs(self) -> int:
        """Of the whole run."""
        return sum(phase.epochs for phase in self.phases)


@dataclass(frozen=True)
class Place:
    """Where a step lies: which phase (0 the first), the epoch of the run, the step within the phase, its length in
    steps. Beyond the end: the last phase, ``step`` at or beyond ``steps``."""

    phase: int
    epoch: int
    step: int
    steps: int


def place(plan: Plan, steps_per_epoch: Sequence[int], step: int) -> Place:
    """The place of a step of the run, 0 the first.

    ``steps_per_epoch``: of each phase, since buckets of another resolution make another number of batches.
    Raises BadInput where there is not one positive number for each phase.
    """
    if len(steps_per_epoch) != len(plan.phases) or min(steps_per_epoch, default=0) < 1:
        raise BadInput("steps_per_epoch", list(steps_per_epoch), f"{len(plan.phases)} numbers of 1 or more")
    epoch, last = 0, len(plan.phases) - 1
    for index, (phase, count) in enumerate(zip(plan.phases, steps_per_epoch, strict=True)):
        length = phase.epochs * count
        if step < length or index == last:
            return Place(index, epoch + min(step // count, phase.epochs - 1), step, length)
        step, epoch = step - length, epoch + phase.epochs
    raise BadInput("phases", "none", "at least one")


def rate(plan: Plan, steps_per_epoch: Sequence[int], step: int) -> float:
    """The learning rate of a step. Beyond the end it stays where the last phase ended."""
    at = place(plan, steps_per_epoch, step)
    return plan.phases[at.phase].rate * factor(schedule_of(plan.phases[at.phase], at.steps), at.step)


def schedule_of(phase: Phase, steps: int) -> Schedule:
    """The phase's schedule over its number of steps. Raises BadInput as ``schedules.check``."""
    schedule = Schedule(phase.kind, steps, round(phase.warmup * steps), phase.floor, phase.cycles, phase.stretch)
    check(schedule)
    return schedule


def _chain(resolution: int, rates: Sequence[float], first: int) -> tuple[Phase, ...]:
    """Ten epochs for each maximum; the text encoder is trained in every second phase of the run, the first among it."""
    return tuple(
        Phase(10, resolution, peak, floor=0.0, stretch=1.5, text_encoder=(first + index) % 2 == 0)
        for index, peak in enumerate(rates)
    )


def chained_cosine() -> Plan:
    """The card's run.

    Open on the card, and taken so: (a) how far each cosine falls: EveryDream 2's default, whose decay takes 1.5 times
    the run (optimizer/optimizers.py, line 221), so that each ends at a quarter of its maximum; (b) with which ten
    epochs the text encoder begins: the first, which makes 40 of 90 epochs, "50 %" on the card; (c) the last twenty
    epochs are one phase.
    """
    phases = (
        *_chain(512, (3e-6, 2.6e-6, 2.2e-6), 0),
        *_chain(768, (3e-6, 2.6e-6, 2.2e-6, 1.6e-6), 3),
        Phase(20, 768, 2.2e-6, kind="constant", text_encoder=False, captions="short"),
    )
    return Plan(phases, batch=4, uncond_dropout=0.125, shuffle_every=10, save_every=5, optimiser="adamw8bit")


#: name -> plan.
PLANS: dict[str, Plan] = {"chained_cosine": chained_cosine()}
