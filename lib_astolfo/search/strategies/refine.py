"""Bracket and refine, as one does by hand: coarse values, then finer ones around the best, until no more can be told.

Every combination of the other axes is refined by itself. The bracket holds every value that may be the best one, which
on a flat curve are many; finer values halve its widest gaps. A column is finished when the 95 % interval of its optimum
is under a width, when the best value's neighbours are as good within the noise, or after a number of rounds.
Then, where a merge below full strength is best, the trained model alone is drawn at lower CFGs: a merge weakens the
guidance, so that its optimum may stand in for a lower CFG and for nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.score import Score
from lib_astolfo.search.axes import AXES
from lib_astolfo.search.plan import Plan
from lib_astolfo.search.statistics import CHOSEN, Optimum, optimum, worse
from lib_astolfo.search.strategies.base import Tried, Values

GUARDS = (0.375, 0.625)  # of the CFG, at which the trained model alone is drawn
STRAIGHT = 0.15  # share of the range: values farther apart do not say where between them the optimum is
LIKELY = 0.05  # share of the bootstrap in which a value must be the best one to be counted with the bracket
DIGITS = 6  # of a value


@dataclass(frozen=True)
class Refine:
    """``plan``: the study, with the refined axis in it; the other settings are those of ``SearchSettings``."""

    plan: Plan
    axis: str = "ratio"
    low: float = 0.0
    high: float = 1.0
    coarse: int = 5
    finer: int = 3
    rounds: int = 3
    within: float = 0.05
    guard: bool = True

    def __post_init__(self) -> None:
        if self.axis not in AXES or not isinstance(self.plan.axes[self.axis][0], (int, float)):
            raise BadInput("axis", repr(self.axis), "an axis of numbers, as ratio or cfg")
        if not self.low < self.high:
            raise BadInput("low", self.low, f"less than high, which is {self.high:g}")
        for name, value, least in (("coarse", self.coarse, 3), ("finer", self.finer, 1), ("rounds", self.rounds, 1)):
            if not least <= value <= 100:
                raise BadInput(name, value, f"a whole number from {least} to 100")
        if not self.within > 0:
            raise BadInput("within", self.within, "a number above 0")
        if self.plan.primary is None:
            raise BadInput("scores", ", ".join(self.plan.scores) or "none", "a score that has a better side")

    @property
    def most(self) -> int:
        each = self.coarse + self.finer * (self.rounds - 1)
        return len(self.columns) * (each + (len(GUARDS) if self._guards() else 0))

    @property
    def columns(self) -> list[dict[str, Any]]:
        """The combinations of the other axes."""
        others = {name: values for name, values in self.plan.axes.items() if name != self.axis}
        return [dict(zip(others, values, strict=True)) for values in itertools.product(*others.values())]

    def propose(self, rounds: Sequence[Sequence[Tried]]) -> list[Values]:
        if not rounds:
            return self._cells({index: self._first() for index in range(len(self.columns))})
        tried = [one for round in rounds for one in round]
        wanted = {}
        if len(rounds) < self.rounds:
            wanted = {index: self._next(column, tried) for index, column in enumerate(self.columns)}
        return self._cells(wanted) or self._guard_cells(tried)

    def _first(self) -> list[float]:
        return [round(float(x), DIGITS) for x in np.linspace(self.low, self.high, self.coarse)]

    def _cells(self, wanted: Mapping[int, Sequence[float]]) -> list[Values]:
        """Cells with the refined axis outermost, so that each of its values is written once."""
        pairs = sorted((x, index) for index, xs in wanted.items() for x in xs)
        return [{self.axis: x, **self.columns[index]} for x, index in pairs]

    def _of(self, column: Values, tried: Sequence[Tried]) -> list[Tried]:
        """What was tried in a column, along the axis."""
        here = [
            one
            for one in tried
            if one.state == "done" and {k: v for k, v in one.values.items() if k != self.axis} == dict(column)
        ]
        return sorted(here, key=lambda one: one.values[self.axis])

    @property
    def score(self) -> Score:
        assert self.plan.primary is not None
        return self.plan.primary

    def _optimum(self, here: Sequence[Tried]) -> Optimum:
        return optimum(
            [one.values[self.axis] for one in here], [one.scores[self.score.name] for one in here], self.score
        )

    def _next(self, column: Values, tried: Sequence[Tried]) -> list[float]:
        """The values that this column still needs, [] when it is finished."""
        here = self._of(column, tried)
        if len(here) < 3:
            return []
        found = self._optimum(here)
        xs = [*found.xs[bracket(found)]]
        dense = max(b - a for a, b in itertools.pairwise(xs)) <= STRAIGHT * (self.high - self.low)
        beside = here[max(found.index - 1, 0) : found.index + 2]
        if dense and (found.high - found.low <= self.within or self._alike(beside, here[found.index])):
            return []
        added: list[float] = []
        while len(added) < self.finer:
            gaps = [(a, b) for a, b in itertools.pairwise(xs) if b - a > self.within / 2]
            if not gaps:
                break
            widest = max(gaps, key=lambda gap: (round(gap[1] - gap[0], DIGITS), -abs(sum(gap) / 2 - found.best)))
            added.append(round(sum(widest) / 2, DIGITS))
            xs = sorted([*xs, added[-1]])
        return added

    def _alike(self, beside: Sequence[Tried], best: Tried) -> bool:
        """Whether the best value and its neighbours cannot be told apart."""
        name = self.score.name
        return not any(worse(self.score, one.scores[name], best.scores[name]).beyond(CHOSEN) for one in beside)

    def _guards(self) -> bool:
        """Whether the question can be asked: a ratio is refined, up to full strength, and CFG is no axis."""
        return self.guard and self.axis == "ratio" and self.high >= 1.0 and "cfg" not in self.plan.axes

    def _guard_cells(self, tried: Sequence[Tried]) -> list[Values]:
        if not self._guards() or any("cfg" in one.values for one in tried):
            return []
        cells: list[Values] = []
        for column in self.columns:
            here = self._of(column, tried)
            if len(here) >= 3 and 0.0 < self._optimum(here).best < 1.0:
                cells += [{self.axis: 1.0, "cfg": cfg, **column} for cfg in guards(self.plan.settings.cfg)]
        return cells


def bracket(found: Optimum) -> slice:
    """The values between which the optimum lies: all that are the best one often enough when the pictures are drawn
    anew from those there are, and the neighbours of the first and the last of them."""
    likely = [index for index, share in enumerate(found.shares) if share >= LIKELY or index == found.index]
    return slice(max(likely[0] - 1, 0), min(likely[-1] + 1, len(found.xs) - 1) + 1)


def guards(cfg: float) -> Iterator[float]:
    """The lower CFGs at which the trained model alone is drawn, 1 (no guidance) at the least."""
    found = [round(max(share * cfg, 1.0), DIGITS) for share in GUARDS]
    yield from (value for value in dict.fromkeys(found) if value < cfg)
