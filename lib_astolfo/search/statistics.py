"""Where a curve has its optimum, and how sure that is. How cells are compared stands in ``scoring.compare``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.compare import CHOSEN as CHOSEN
from lib_astolfo.scoring.compare import CLEAR as CLEAR
from lib_astolfo.scoring.compare import DRAWS as DRAWS
from lib_astolfo.scoring.compare import Difference as Difference
from lib_astolfo.scoring.compare import difference as difference
from lib_astolfo.scoring.compare import draw_means as draw_means
from lib_astolfo.scoring.compare import worse as worse
from lib_astolfo.scoring.score import Score, ScoreValues

FLAT_SHARE = 0.7  # of the points within the error, so that one unlucky point does not make a curve
REACH = 0.2  # share of the axis on each side of the lowest point that the local fit uses


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
