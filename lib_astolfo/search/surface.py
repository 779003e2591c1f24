"""Surfaces over two axes, the products that follow from them, and ratio optima that a lower CFG explains.

A product is what a model would be handed out as: the best cell under one uncond, for people who will use that uncond
(zero: A1111 and reForge with an empty negative prompt; null: ComfyUI). Together they are the answer to ratio x CFG x
uncond, which is one question: the best ratio and the best uncond depend on each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib_astolfo.scoring.score import Score
from lib_astolfo.search.statistics import CHOSEN, DRAWS, Difference, draw_means, worse
from lib_astolfo.search.store import CellResult
from lib_astolfo.search.study import StudyResult

SHARE = 0.95  # of the bootstrap's draws that an interval of the optimum holds


@dataclass(frozen=True)
class Surface:
    """A score over two axes, the others held at ``others``: ``means`` and ``errors`` float64 [X,Y], NaN where no cell
    is. ``chance`` [X,Y]: how often each cell is the best one when the pictures are drawn anew from those there are."""

    score: Score
    x: str
    y: str
    xs: tuple[Any, ...]
    ys: tuple[Any, ...]
    others: Mapping[str, Any]
    means: np.ndarray
    errors: np.ndarray
    chance: np.ndarray

    @property
    def best(self) -> tuple[int, int]:
        """Where the surface is best."""
        losses = self.score.loss(self.means)
        return tuple(int(i) for i in np.unravel_index(int(np.nanargmin(losses)), losses.shape))  # type: ignore[return-value]

    def region(self) -> list[tuple[int, int]]:
        """The fewest cells that hold the optimum with 95 % of the bootstrap's draws, the likeliest first."""
        order = np.argsort(-self.chance, axis=None, kind="stable")
        needed = int(np.searchsorted(np.cumsum(self.chance.flat[order]), SHARE)) + 1
        places = (np.unravel_index(int(index), self.chance.shape) for index in order[:needed])
        return [(int(i), int(j)) for i, j in places]


def surface(result: StudyResult, score: Score, x: str, y: str, others: Mapping[str, Any]) -> Surface | None:
    """The surface over two axes of a study, None with fewer than four cells there."""
    cells = {}
    for cell in result.cells:
        rest = {name: value for name, value in cell.cell.values.items() if name not in (x, y)}
        if rest == dict(others) and score.name in cell.scores:
            cells[(cell.cell.values[x], cell.cell.values[y])] = cell.scores[score.name]
    if len(cells) < 4:
        return None
    xs, ys = result.plan.axes[x], result.plan.axes[y]
    shape = (len(xs), len(ys))
    means, errors, chance = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    places = [(xs.index(a), ys.index(b)) for a, b in cells]
    drawn = score.loss(draw_means(list(cells.values()), DRAWS, 0))
    shares = np.bincount(drawn.argmin(axis=1), minlength=len(places)) / len(drawn)
    for place, value, share in zip(places, cells.values(), shares, strict=True):
        means[place], errors[place], chance[place] = value.mean, value.error, share
    return Surface(score, x, y, xs, ys, dict(others), means, errors, chance)


@dataclass(frozen=True)
class Product:
    """The best cell under one uncond; ``ties``: cells under it that are not clearly worse, best first."""

    uncond: Any
    best: CellResult
    ties: tuple[CellResult, ...]


def products(result: StudyResult, score: Score) -> list[Product]:
    """One for each uncond of the study, in its order; none without that axis."""
    found = []
    for uncond in result.plan.axes.get("uncond", ()):
        cells = [cell for cell in result.cells if cell.cell.values["uncond"] == uncond]
        best = result.best(cells)
        if best is not None:
            found.append(Product(uncond, best, tuple(_ties(score, best, cells))))
    return found


def _ties(score: Score, best: CellResult, cells: Sequence[CellResult]) -> list[CellResult]:
    mine = best.scores[score.name]
    near = [c for c in cells if c is not best and not worse(score, c.scores[score.name], mine).beyond(CHOSEN)]
    return sorted(near, key=lambda cell: float(score.loss(cell.scores[score.name].mean)))


def against(score: Score, first: Product, second: Product) -> Difference:
    """By how much the first product is worse than the second."""
    return worse(score, first.best.scores[score.name], second.best.scores[score.name])


@dataclass(frozen=True)
class Ridge:
    """The best ratio at every CFG, all else held, from the lowest CFG to the highest.

    Where the best ratio falls as the CFG rises and the best scores are alike, ratio and CFG do one and the same thing:
    the merge stands in for a lower CFG.
    """

    others: Mapping[str, Any]
    cfgs: tuple[float, ...]
    cells: tuple[CellResult, ...]
    spread: Difference  # of the worst of these cells against the best of them

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(cell.cell.values["ratio"] for cell in self.cells)

    @property
    def trades(self) -> bool:
        """Whether a lower CFG goes with a higher ratio and is as good within the error."""
        pairs = list(zip(self.ratios, self.ratios[1:], strict=False))
        falls = all(b <= a for a, b in pairs) and self.ratios[-1] < self.ratios[0]
        return falls and not self.spread.beyond(CHOSEN)


def ridges(result: StudyResult, score: Score) -> list[Ridge]:
    """One for every combination of the axes but ratio and CFG with three ratios or more at two CFGs or more."""
    if not {"ratio", "cfg"} <= set(result.plan.axes):
        return []
    groups: dict[str, dict[float, list[CellResult]]] = {}
    named: dict[str, dict[str, Any]] = {}
    for cell in result.cells:
        rest = {n: v for n, v in cell.cell.values.items() if n not in ("ratio", "cfg")}
        named.setdefault(repr(rest), rest)
        groups.setdefault(repr(rest), {}).setdefault(cell.cell.values["cfg"], []).append(cell)
    found = []
    for name, at in groups.items():
        whole = {cfg: cells for cfg, cells in sorted(at.items()) if len(cells) >= 3}
        best = [result.best(cells) for cells in whole.values()]
        if len(whole) < 2 or any(cell is None for cell in best):
            continue
        kept = tuple(cell for cell in best if cell is not None)
        order = sorted(kept, key=lambda cell: float(score.loss(cell.scores[score.name].mean)))
        spread = worse(score, order[-1].scores[score.name], order[0].scores[score.name])
        found.append(Ridge(named[name], tuple(whole), kept, spread))
    return found
