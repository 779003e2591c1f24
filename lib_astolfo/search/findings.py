"""What the cells of a study say in numbers: curves over the ratio, uncond against uncond, merge against full model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib_astolfo.scoring.score import Score, ScoreValues
from lib_astolfo.search.axes import AXES
from lib_astolfo.search.plan import columns, title
from lib_astolfo.search.statistics import CHOSEN, DRAWS, Difference, Optimum, draw_means, optimum, worse
from lib_astolfo.search.store import CellResult
from lib_astolfo.search.study import StudyResult

SATURATED = 0.05  # so near to its limit a score says nothing
SATURATED_SHARE = 0.75  # … when so many of the cells are


@dataclass(frozen=True)
class Curve:
    """One score over the ratio, everything else held: ``others`` are the values of the other axes."""

    score: Score
    others: Mapping[str, Any]
    cells: tuple[CellResult, ...]
    optimum: Optimum | None  # None for a score without a better side or fewer than two points

    @property
    def xs(self) -> list[float]:
        """The ratios, rising."""
        return [result.cell.values["ratio"] for result in self.cells]

    @property
    def values(self) -> list[ScoreValues]:
        """The score at each ratio."""
        return [result.scores[self.score.name] for result in self.cells]

    @property
    def title(self) -> str:
        """The other axes in words."""
        return title(self.others)

    @property
    def best(self) -> CellResult:
        """The best cell measured; the first one where the score has no better side."""
        return self.cells[self.optimum.index if self.optimum else 0]


def curves(result: StudyResult, score: Score) -> list[Curve]:
    """The curves of a score over the ratio, one per combination of the other axes; none without a ratio axis."""
    if "ratio" not in result.plan.axes:
        return []
    found = []
    for others in columns(result.plan, "ratio"):
        cells = tuple(cell for cell in result.cells if cell.cell.without("ratio") == others)
        if not cells:
            continue
        best = None
        if score.decides and len(cells) > 1:
            ratios = [cell.cell.values["ratio"] for cell in cells]
            best = optimum(ratios, [cell.scores[score.name] for cell in cells], score)
        found.append(Curve(score, others, cells, best))
    return found


@dataclass(frozen=True)
class Versus:
    """Two cells compared by a score; ``difference`` is positive where ``first`` is worse."""

    first: CellResult
    second: CellResult
    difference: Difference


def versus(score: Score, first: CellResult, second: CellResult) -> Versus:
    """Compare two cells."""
    return Versus(first, second, worse(score, first.scores[score.name], second.scores[score.name]))


@dataclass(frozen=True)
class UncondPair:
    """Two unconds under the same CFG and all else: at the ratio best for both together, and at full strength."""

    first: Curve
    second: Curve
    ratio: float
    at_best: Versus
    at_full: Versus | None

    @property
    def crosses(self) -> bool:
        """Whether each is clearly the better one at one of the two ratios."""
        if self.at_full is None:
            return False
        here, there = self.at_best.difference, self.at_full.difference
        return here.clear and there.clear and here.mean * there.mean < 0


def uncond_pairs(found: Sequence[Curve]) -> list[UncondPair]:
    """Every uncond against the first one, for each combination of the other axes."""
    pairs = []
    for i, first in enumerate(found):
        rest = {name: value for name, value in first.others.items() if name != "uncond"}
        for second in found[i + 1 :]:
            same = {name: value for name, value in second.others.items() if name != "uncond"} == rest
            if "uncond" in first.others and same and _leads(found[:i], rest):
                pair = _pair(first, second)
                if pair is not None:
                    pairs.append(pair)
    return pairs


def _leads(before: Sequence[Curve], rest: Mapping[str, Any]) -> bool:
    """Whether no earlier curve has these other values: the first uncond is the one to compare with."""
    return all({n: v for n, v in curve.others.items() if n != "uncond"} != rest for curve in before)


def _pair(first: Curve, second: Curve) -> UncondPair | None:
    shared = [x for x in first.xs if x in second.xs]
    if not shared:
        return None
    a = {cell.cell.values["ratio"]: cell for cell in first.cells}
    b = {cell.cell.values["ratio"]: cell for cell in second.cells}
    name, score = first.score.name, first.score
    sums = [score.loss(np.array([a[x].scores[name].mean, b[x].scores[name].mean])).sum() for x in shared]
    ratio = shared[int(np.argmin(sums))]
    full = versus(score, a[1.0], b[1.0]) if 1.0 in shared else None
    return UncondPair(first, second, ratio, versus(score, a[ratio], b[ratio]), full)


@dataclass(frozen=True)
class Confounder:
    """The best merge at one CFG against the trained model at full strength and a lower CFG.

    A merge can look better only because it weakens the guidance; then the full model at a lower CFG is as good.
    """

    cfg: float
    rival: Versus  # first: the full model at a lower CFG; second: the best merge at ``cfg``

    @property
    def present(self) -> bool:
        """Whether the full model at a lower CFG is as good or better within the error."""
        return not (self.rival.difference.clear and self.rival.difference.mean > 0)


def confounders(result: StudyResult, score: Score) -> list[Confounder]:
    """One for every CFG at which a merge below full strength is best and lower CFGs were tried with the full model."""
    if not {"ratio", "cfg"} <= set(result.plan.axes):
        return []
    full = [cell for cell in result.cells if cell.cell.values["ratio"] == 1.0]
    found = []
    for cfg in sorted(result.plan.axes["cfg"]):
        best = result.best([cell for cell in result.cells if cell.cell.values["cfg"] == cfg])
        lower = result.best([cell for cell in full if cell.cell.values["cfg"] < cfg])
        if best is not None and lower is not None and best.cell.values["ratio"] < 1.0:
            found.append(Confounder(cfg, versus(score, lower, best)))
    return found


def full_strength(result: StudyResult, score: Score) -> Versus | None:
    """The trained model at full strength at its best CFG and uncond, against the best cell of all."""
    best = result.best()
    full = result.best([cell for cell in result.cells if cell.cell.values.get("ratio") == 1.0])
    if best is None or full is None or best is full:
        return None
    return versus(score, full, best)


def saturated(result: StudyResult, score: Score) -> bool:
    """Whether a score with a limit is at it in nearly all cells."""
    if score.limit is None or not result.cells:
        return False
    return len(at_limit(result, score)) >= SATURATED_SHARE * len(result.cells)


def at_limit(result: StudyResult, score: Score) -> list[CellResult]:
    """The cells in which a score with a limit is as good as at it."""
    if score.limit is None:
        return []
    return [cell for cell in result.cells if abs(cell.scores[score.name].mean - score.limit) <= SATURATED]


@dataclass(frozen=True)
class Disagreement:
    """Another score prefers another ratio: by ``against`` the primary's choice is clearly worse there."""

    score: Score
    primary: Curve
    other: Curve
    against: Versus


def disagreements(result: StudyResult, primary: Score) -> list[Disagreement]:
    """Where a score that is better low or high, and not saturated, clearly prefers another ratio, all else equal."""
    mine = curves(result, primary)
    found = []
    for score in result.plan.scores.values():
        if score is primary or score.alarm or score.better not in ("lower", "higher") or saturated(result, score):
            continue
        for curve, other in zip(mine, curves(result, score), strict=True):
            against = versus(score, curve.best, other.best)
            if against.difference.clear and against.difference.mean > 0:
                found.append(Disagreement(score, curve, other, against))
    return found


def win_share(result: StudyResult, score: Score) -> float:
    """How often the best cell is the best one of all when the pictures are drawn anew from those there are."""
    best = result.best()
    if best is None:
        return math.nan
    drawn = score.loss(draw_means([cell.scores[score.name] for cell in result.cells], DRAWS, 0))
    index = next(i for i, cell in enumerate(result.cells) if cell is best)
    return float((drawn.argmin(axis=1) == index).mean())


def ties(result: StudyResult, score: Score) -> list[CellResult]:
    """The cells that are not clearly worse than the best one, without it, best first."""
    best = result.best()
    if best is None:
        return []
    near = [
        cell for cell in result.cells if cell is not best and not versus(score, cell, best).difference.beyond(CHOSEN)
    ]
    return sorted(near, key=lambda cell: float(score.loss(np.array(cell.scores[score.name].mean))))


def axis_words(result: StudyResult) -> str:
    """The axes and how many values each has, as ``11 ratios x 3 CFG x 2 uncond``."""
    return " x ".join(f"{len(values)} {AXES[name].words or name}" for name, values in result.plan.axes.items())
