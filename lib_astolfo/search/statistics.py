"""Differences between cells, and where a curve has its optimum, each with how sure that is.

Cells of a study are paired: picture i has the same prompt and the same noise in all of them. Differences are therefore
formed per picture, and the bootstrap draws pictures, the same ones for every cell (Efron and Tibshirani 1993, An
Introduction to the Bootstrap, chapters 6 and 13).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.score import Score, ScoreValues

FLAT_SHARE = 0.7  # of the points within the error, so that one unlucky point does not make a curve
CLEAR = 2.0  # standard errors from which a difference counts as one
CHOSEN = 2.5  # … where one side was chosen because it looked best: on a flat curve of eleven points 1 % or less pass
DRAWS = 2000
REACH = 0.2  # share of the axis on each side of the lowest point that the local fit uses


@dataclass(frozen=True)
class Difference:
    """Mean difference of two cells and its standard error; ``pictures`` is 0 where they could not be paired."""

    mean: float
    error: float
    pictures: int = 0

    @property
    def clear(self) -> bool:
        """Whether it is more than ``CLEAR`` standard errors away from nothing (False while the error is unknown)."""
        return self.beyond(CLEAR)

    def beyond(self, errors: float) -> bool:
        """Whether it is more than so many standard errors away from nothing."""
        return bool(abs(self.mean) > errors * self.error)

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.error:.3f}"


def difference(a: ScoreValues, b: ScoreValues) -> Difference:
    """a minus b, per picture where both have as many; else from the two errors, which overstates the error."""
    if a.each is not None and b.each is not None and a.each.size == b.each.size and a.each.size > 1:
        paired = a.each - b.each
        return Difference(float(paired.mean()), float(paired.std(ddof=1) / math.sqrt(paired.size)), paired.size)
    return Difference(a.mean - b.mean, math.hypot(a.error, b.error))


def worse(score: Score, a: ScoreValues, b: ScoreValues) -> Difference:
    """By how much a is worse than b: positive is worse, whichever way the score points."""
    return difference(_as_loss(score, a), _as_loss(score, b))


def _as_loss(score: Score, values: ScoreValues) -> ScoreValues:
    """The score turned so that lower is better; a score with a target is unfolded on the side its mean is on."""
    if isinstance(score.better, str):
        sign, origin = (-1.0, 0.0) if score.better == "higher" else (1.0, 0.0)
    else:
        origin = float(score.better)
        sign = -1.0 if values.mean < origin else 1.0
    each = None if values.each is None else sign * (values.each - origin)
    return ScoreValues(sign * (values.mean - origin), values.error, each)


@dataclass(frozen=True)
class Optimum:
    """Where a curve is best.

    ``index``: the best point measured; ``position``: the lowest place of a curve fitted there;
    ``low`` to ``high``: 95 % of the bootstrap's positions; ``shares``: how often each point was the best one;
    ``ends``: by how much the first and the last point are worse than the best; ``ties``: the points that are not
    clearly worse than the best.
    """

    xs: tuple[float, ...]
    index: int
    position: float
    low: float
    high: float
    shares: tuple[float, ...]
    ends: tuple[Difference, Difference]
    ties: tuple[float, ...]

    @property
    def best(self) -> float:
        """The best point measured."""
        return self.xs[self.index]

    @property
    def kind(self) -> str:
        """``interior``, ``edge`` (an end is best), ``flat`` (no end and few points clearly worse) or ``unsure``."""
        first, last = (end.beyond(CHOSEN) for end in self.ends)
        if not first and not last and len(self.ties) >= FLAT_SHARE * len(self.xs):
            return "flat"
        if self.index in (0, len(self.xs) - 1):
            return "edge"
        return "interior" if first and last else "unsure"


def optimum(xs: Sequence[float], values: Sequence[ScoreValues], score: Score, *, seed: int = 0) -> Optimum:
    """The optimum of ``values`` over rising ``xs``. BadInput for fewer than two, or a score without a better side."""
    points = np.asarray(xs, dtype=np.float64)
    if len(xs) < 2 or len(xs) != len(values) or (np.diff(points) <= 0).any():
        raise BadInput("optimum", f"{len(xs)} positions, {len(values)} values", "two or more rising positions")
    if not score.decides:
        raise BadInput("optimum", f"score {score.name}", "a score that has a better side")
    means = score.loss(np.array([value.mean for value in values]))
    index = int(means.argmin())
    drawn = score.loss(draw_means(values, DRAWS, seed))
    positions = vertices(points, drawn)
    low, high = np.percentile(positions, [2.5, 97.5])
    shares = np.bincount(drawn.argmin(axis=1), minlength=len(xs)) / len(drawn)
    against = [worse(score, value, values[index]) for value in values]
    ties = tuple(x for i, x in enumerate(xs) if i == index or not against[i].beyond(CHOSEN))
    position = float(vertices(points, means[None])[0])
    return Optimum(
        tuple(float(x) for x in xs),
        index,
        position,
        float(min(low, position)),
        float(max(high, position)),
        tuple(float(share) for share in shares),
        (against[0], against[-1]),
        ties,
    )


def draw_means(values: Sequence[ScoreValues], draws: int, seed: int) -> np.ndarray:
    """Bootstrapped means float64 [draws, cells]: the same pictures for all cells, or normal where there are none."""
    random = np.random.default_rng(seed)
    sizes = {None if value.each is None else value.each.size for value in values}
    if len(sizes) == 1 and None not in sizes:
        each = np.stack([value.each for value in values if value.each is not None])  # [cells, pictures]
        count = each.shape[1]
        weights = random.multinomial(count, np.full(count, 1.0 / count), size=draws) / count
        return weights @ each.T
    means = np.array([value.mean for value in values])
    errors = np.nan_to_num(np.array([value.error for value in values]))
    return means + errors * random.standard_normal((draws, len(values)))


def vertices(xs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Where each curve is lowest: float64 [C] for ``xs`` [P] rising and ``losses`` [C, P].

    A cubic (a parabola on fewer than five points) is fitted to the points within ``REACH`` of the lowest one, two on
    each side at least, and its lowest place within half of that is taken. A ratio curve falls more steeply than it
    rises, so that a parabola alone is off by more than the noise.
    """
    lowest = losses.argmin(axis=1)
    found = np.empty(len(losses))
    for index in np.unique(lowest):
        rows = lowest == index
        used = _around(xs, int(index), REACH, 2)
        x = xs[used] - xs[index]
        degree = min(3, max(len(x) - 2, 1), len(x) - 1) if len(x) != 3 else 2
        coefficients = np.linalg.lstsq(np.vander(x, degree + 1), losses[rows][:, used].T, rcond=None)[0]
        inner = xs[_around(xs, int(index), REACH / 2, 1)]
        fine = np.linspace(inner[0], inner[-1], 401)
        found[rows] = fine[(np.vander(fine - xs[index], degree + 1) @ coefficients).argmin(axis=0)]
    return found


def _around(xs: np.ndarray, index: int, reach: float, neighbours: int) -> slice:
    """The points within ``reach`` (a share of the whole range) of a point, and at least that many neighbours."""
    near = np.flatnonzero(np.abs(xs - xs[index]) <= reach * (xs[-1] - xs[0]) + 1e-9)
    first = max(min(near[0], index - neighbours), 0)
    last = min(max(near[-1], index + neighbours), len(xs) - 1)
    return slice(first, last + 1)
