"""The default search over block ratios: a Bayesian model that adds up what each block does, and Thompson sampling.

27 ratios and some tens of evaluations are too few for a model of everything; but a few blocks carry most of the effect,
and their effects mostly add up. So the score is modelled as a sum of functions of one ratio each (additive Gaussian
processes: Duvenaud et al. 2011, arXiv:1112.4394; for optimisation Kandasamy et al. 2015, arXiv:1503.01673), and every
new point is the best one of a function drawn from the posterior (Thompson 1933), which is found ratio by ratio. It
begins with pairs of points that are each other's opposite: every ratio is as often high as low.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LEVELS = 5  # values of a ratio that are told apart
PAIRS = 2  # of opposite points at the beginning
NOISE = 0.2  # variance of what the model does not say, in shares of that of the scores
DARING = 0.5  # how much of the posterior's spread is drawn: 0 the best guess, 1 Thompson's
LENGTH = 0.5  # of the curved part of a function of a ratio
CURVED = 0.2  # share of that part; the rest is linear
FAR = 10.0  # prior variance of the mean, which is not known


def opposites(dimensions: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Pairs of corners [D] of 0 and 1, each other's opposite, without end."""
    while True:
        corner = random.integers(0, 2, dimensions).astype(np.float64)
        yield corner
        yield 1.0 - corner


@dataclass(frozen=True)
class Model:
    """The posterior after ``points`` [N,D] in 0..1 and ``losses`` [N], lower is better."""

    points: np.ndarray
    losses: np.ndarray
    noise: float = NOISE

    def propose(self, count: int, random: np.random.Generator, daring: float = DARING) -> list[np.ndarray]:
        """``count`` new points [D], each the lowest of a function drawn from the posterior, all different."""
        levels = np.linspace(0.0, 1.0, LEVELS)
        means, spreads = self._posterior(levels)
        seen = {tuple(point) for point in np.round(self.points, 6)}
        found: list[np.ndarray] = []
        for attempt in range(100 * count):
            missed = attempt - len(found)  # draws that gave a known point: the next ones are more daring
            drawn = means + daring * (1 + missed / count) * spreads(random)
            point = levels[drawn.argmin(axis=1)]
            if tuple(np.round(point, 6)) not in seen:
                seen.add(tuple(np.round(point, 6)))
                found.append(point)
            if len(found) == count:
                return found
        return found

    def _posterior(self, levels: np.ndarray) -> tuple[np.ndarray, Callable[[np.random.Generator], np.ndarray]]:
        """Means [D,L] of each ratio's function at the levels, and a function that draws deviations [D,L] from them."""
        count, dimensions = self.points.shape
        y = self.losses - self.losses.mean()
        scale = y.std() or 1.0
        y = y / scale
        kernels = [kernel(self.points[:, j], self.points[:, j]) / dimensions for j in range(dimensions)]
        inverse = np.linalg.inv(sum(kernels) + self.noise * np.eye(count) + FAR)
        weights = inverse @ y
        across = [kernel(levels, self.points[:, j]) / dimensions for j in range(dimensions)]
        means = np.stack([one @ weights for one in across])
        own = kernel(levels, levels) / dimensions
        roots = [_root(own - one @ inverse @ one.T) for one in across]

        def draw(random: np.random.Generator) -> np.ndarray:
            normal = random.standard_normal((dimensions, len(levels)))
            return np.stack([root @ each for root, each in zip(roots, normal, strict=True)])

        return means, draw


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Covariance [A,B] of a function of one ratio, linear in part, at ratios ``a`` [A] and ``b`` [B]."""
    linear = (2 * a - 1)[:, None] * (2 * b - 1)[None]
    curved = np.exp(-0.5 * ((a[:, None] - b[None]) / LENGTH) ** 2)
    return CURVED * curved + (1 - CURVED) * linear


def _root(covariance: np.ndarray) -> np.ndarray:
    """A matrix whose product with its transpose is the covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def start(dimensions: int, seed: int, given: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
    """The first points: those that are given, then pairs of opposites."""
    random = np.random.default_rng(seed)
    corners = opposites(dimensions, random)
    return [*given, *(next(corners) for _ in range(2 * PAIRS))]
