"""The Frechet distance between sets of points, with its error and without most of its bias.

Heusel et al. 2017 (arXiv:1706.08500) fit Gaussians to features and compare those. With few points the distance is too
large, by about a constant over their number (Chong and Forsyth 2020, arXiv:1911.07023); a jackknife takes that away.
"""

from __future__ import annotations

import numpy as np

Gaussian = tuple[np.ndarray, np.ndarray]  # mean [D], covariance [D,D]
FOLDS = 16  # groups of the jackknife
LEAST = 2 * FOLDS  # points


def gaussian(points: np.ndarray, weights: np.ndarray | None = None) -> Gaussian:
    """Mean and covariance of points [N,D], each counted ``weights`` times."""
    return np.average(points, axis=0, weights=weights), np.atleast_2d(np.cov(points.T, aweights=weights))


def distance(one: Gaussian, other: Gaussian) -> float:
    """|m1-m2|² + tr(C1 + C2 - 2 (C1 C2)^½), by way of the symmetric C2^½ C1 C2^½."""
    values, vectors = np.linalg.eigh(other[1])
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ one[1] @ root).clip(min=0)).sum()
    return float(((one[0] - other[0]) ** 2).sum() + np.trace(one[1]) + np.trace(other[1]) - 2 * cross)


def jackknifed(points: np.ndarray, other: Gaussian) -> tuple[float, float, float]:
    """The distance of points [N,D] from a Gaussian: as it is, its standard error, and without the bias of order 1/N.

    Quenouille 1956; the groups are every sixteenth point. The bias of the Gaussian's own points stays.
    """
    fold = np.arange(len(points)) % FOLDS
    whole = distance(gaussian(points), other)
    left_out = np.array([distance(gaussian(points[fold != index]), other) for index in range(FOLDS)])
    error = float(np.sqrt((FOLDS - 1) * np.var(left_out)))
    return whole, error, FOLDS * whole - (FOLDS - 1) * float(left_out.mean())
