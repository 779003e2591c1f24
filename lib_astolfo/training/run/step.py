"""What one step is made of: pictures, captions and everything drawn; a pure function of settings, seed, step, batch.

All rows of a step are drawn by name, so it does not matter in how many passes, or processes, they are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_astolfo.training import distill, times
from lib_astolfo.training.data.order import Batch, pieces, shard
from lib_astolfo.training.data.samples import Plan, plans
from lib_astolfo.training.data.scan import Item
from lib_astolfo.training.data.settings import DataSettings
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.times import Moments

#: What a roll-back adds to the seed of noise and levels, so that the same draw does not lead to the same end.
AGAIN = 1_000_003


@dataclass(frozen=True, eq=False)
class Step:
    """A step before it is computed; all rows of it, whoever computes them.

    Attributes:
        number: of the step. ``seed``: of its draws. ``data``: settings of its phase. ``plans``: one for each row.
        moments: noise levels. ``zeros``: rows whose left-out caption is zero, bool [B]. ``taught``: rows whose target
            is the teacher's, where its range allows, bool [B].
    """

    number: int
    seed: int
    data: DataSettings
    plans: tuple[Plan, ...]
    moments: Moments
    zeros: Tensor
    taught: Tensor

    def __len__(self) -> int:
        return len(self.plans)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the rows."""
        return tuple(plan.seen.name for plan in self.plans)

    @property
    def dropped(self) -> Tensor:
        """Rows whose caption was left out, bool [B]."""
        return torch.tensor([plan.said.dropped for plan in self.plans], dtype=torch.bool)

    def draws(self, rows: Sequence[int]) -> Draws:
        """For some of the rows."""
        return Draws(self.seed, self.number, tuple(self.names[row] for row in rows))


@dataclass(frozen=True)
class When:
    """Which step: its number, its epoch, how many roll-backs came before, whether the teacher is asked still."""

    step: int
    epoch: int
    attempt: int = 0
    taught: bool = True


def draw(settings: RunSettings, data: DataSettings, items: Sequence[Item], batch: Batch, when: When) -> Step:
    """Everything that is drawn for a step, but its noise. Opens nothing."""
    seed = settings.seed + AGAIN * when.attempt
    planned = tuple(plans(data, items, when.epoch, batch))
    draws = Draws(seed, when.step, tuple(plan.seen.name for plan in planned))
    objective = settings.objective
    moments = times.draw(objective.times, objective.sampling, draws, place=(0, len(planned)))
    dropped = torch.tensor([plan.said.dropped for plan in planned], dtype=torch.bool)
    share = {"zero": 1.0, "null": 0.0, "both": settings.uncond.zero}[settings.uncond.target]
    zeros = dropped & (draws.uniform("uncond")[:, 0] < share)
    taught = torch.zeros(len(planned), dtype=torch.bool)
    if objective.distill is not None and when.taught:
        valid = distill.teachable(moments, objective.distill)[0]
        taught = distill.chosen(objective.distill, valid, draws)
    return Step(when.step, seed, data, planned, moments, zeros, taught)


def passes(batch: Batch, most: int, rank: int = 0, processes: int = 1) -> list[tuple[int, ...]]:
    """The rows of each pass of a process: its share of the batch in parts of at most ``most``."""
    first = len(batch) * rank // processes
    own = shard(batch, rank, processes)
    found = []
    for part in pieces(own, most) if len(own) else ():
        found.append(tuple(range(first, first + len(part))))
        first += len(part)
    return found


def rows_of(moments: Moments, rows: Sequence[int]) -> Moments:
    """The noise levels of some rows."""
    at = list(rows)
    return Moments(moments.timestep[at], moments.alpha[at], moments.sigma[at])
