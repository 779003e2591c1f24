"""The geometric median in the space of n weights: all that it needs of the points is their Gram matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def add_gram(total: Tensor, points: Tensor | Sequence[Tensor], scratch: Tensor, origin: Tensor | None = None) -> None:
    """Add the points' products ⟨x_i - o, x_j - o⟩ to ``total``.

    Args:
        total: float64 [n, n].
        points: [n, elements], or a list of n flat tensors.
        scratch: float64 [n, elements], overwritten.
        origin: o, one of the points; None for 0.
    """
    for row, point in zip(scratch, points, strict=True):
        row.copy_(point)
    if origin is not None:
        scratch.sub_(origin.double())
    total += scratch @ scratch.mT


def median_weights(gram: Tensor, eps: float, maxiter: int, ftol: float) -> Tensor:
    """Weights of the points whose sum is their geometric median, by Weiszfeld's iteration.

    The smoothed form (Pillutla, Kakade and Harchaoui 2019, arXiv:1912.13445, section 3): distances below ``eps`` count
    as ``eps``. Stops after ``maxiter`` steps, or when the mean distance changes by no more than ``ftol`` of itself.
    sd-mecha computes in float32, where that difference is 0 long before the end.

    Args:
        gram: of the points around any origin, float64 [n, n].

    Returns:
        float64 [n], sum 1.
    """
    gram = gram.double().cpu()
    count = len(gram)
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    distance = distances(gram, weights)
    objective = float(distance.mean())
    for _ in range(max(0, int(maxiter))):
        previous = objective
        weights = 1 / distance.clamp(min=eps)
        weights /= weights.sum()
        distance = distances(gram, weights)
        objective = float(distance.mean())
        if abs(previous - objective) <= ftol * objective:
            break
    return weights


def distances(gram: Tensor, weights: Tensor) -> Tensor:
    """Distance of each point from the weighted sum of all, float64 [n]; the weights have the sum 1."""
    image = gram @ weights
    squares = gram.diagonal() - 2 * image + weights @ image
    return squares.clamp(min=0).sqrt()
