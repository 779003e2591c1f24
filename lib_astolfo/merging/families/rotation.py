"""A turned towards B by an orthogonal matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib_astolfo.merging.method import Method
from lib_astolfo.merging.orthogonal import procrustes


def rotate(
    a: Tensor,
    b: Tensor,
    *,
    alignment: float,
    alpha: float,
    centralization: float,
    stiefel_eps: float,
    stiefel_max_iters: int,
) -> Tensor:
    """Rows of A turned towards those of B, without scaling: A·Q^alignment, Q the centred Procrustes rotation.

    With the rows less ``centralization`` times their mean: (lerp(A, B·Qᵀ, alpha))·Q^alignment, plus the means' lerp at
    ``alignment``. So alignment = alpha = 0 gives A, and alignment = alpha = 1 gives B.

    Kernels larger than 1 x 1 are rows of [out·in, height·width], all others [out, the rest]. Vectors, and tensors that
    are alike in half precision, are lerped by ``alpha``.

    Args:
        a: whole tensor; computed in float64.
        b: of its shape.
        stiefel_eps: not used, nor is ``stiefel_max_iters``: the power is computed in closed form.

    sd-mecha's differs where there are fewer rows than columns: its transform for them is no orthogonal matrix (lengths
    grow, and the result is farther from B than the Procrustes rotation brings it), and its fractional power takes
    eigenvectors for orthonormal that need not be.
    """
    if alignment == 0 and alpha == 0:
        return a
    if alignment == 1 and alpha == 1:
        return b
    if a.dim() <= 1 or not a.numel() or torch.allclose(a.half(), b.half()):
        return a.lerp(b, alpha)
    rows = a.shape[0] * a.shape[1] if a.dim() == 4 and math.prod(a.shape[2:]) > 1 else a.shape[0]
    points_a, points_b = a.double().reshape(rows, -1), b.double().reshape(rows, -1)
    mean_a, mean_b = points_a.mean(0) * centralization, points_b.mean(0) * centralization
    points_a, points_b = points_a - mean_a, points_b - mean_b
    rotation = procrustes(points_a, points_b, exponent=alignment)
    if alpha:
        points_a = points_a.lerp(rotation.apply(points_b, -1), alpha)
    result = rotation.apply(points_a, alignment) + mean_a.lerp(mean_b, alignment)
    return result.reshape(a.shape).to(a.dtype)


METHODS: tuple[Method, ...] = (
    Method(
        name="rotate",
        function=rotate,
        inputs=("a", "b"),
        options={
            "alignment": 1.0,
            "alpha": 0.0,
            "centralization": 1.0,
            "stiefel_eps": 1e-8,
            "stiefel_max_iters": 100,
        },
        unit="tensor",
        formula="lerp(A, B·Qᵀ, ratio)·Q^alignment of the centred rows, Q the rotation that brings A nearest to B",
        reference="Schönemann 1966, A generalized solution of the orthogonal Procrustes problem; sd-mecha rotate "
        "(stiefel_eps and stiefel_max_iters have no effect here)",
    ),
)
