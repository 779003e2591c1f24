"""Deltas changed in their singular values. Convolutions are [out, in·height·width]; vectors stay as they are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.diffusion.chance import Stream
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.method import Method, Option, Place

BASIS_OPTIONS: dict[str, Option] = {
    "use_approximate_basis": True,
    "approximate_basis_iters": 2,
    "approximate_basis_seed": 0,
}


def truncate_rank(a: Tensor, *, place: Place, rank: int, **basis: Any) -> Tensor:
    """The nearest delta of a rank at most ``rank`` (Eckart and Young 1936).

    Args:
        a: whole tensor; with fewer than two dimensions returned as it is.
        rank: 0 gives zeros.
        basis: ``use_approximate_basis``: from a random projection (see ``leading``), otherwise the exact one.
    """
    if a.dim() < 2 or not a.numel():
        return a
    matrix = _matrix(a)
    count = min(max(int(rank), 0), min(matrix.shape))
    if count == min(matrix.shape):
        return a
    if count == 0:
        return torch.zeros_like(a)
    u, s, vh = leading(matrix, count, place.key, basis)
    return ((u * s) @ vh).reshape(a.shape).to(a.dtype)


def leading(matrix: Tensor, count: int, key: str, basis: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` leading singular triples: u [m, count], s [count], vh [count, n].

    With ``use_approximate_basis`` by random projection and ``approximate_basis_iters`` power iterations (Halko,
    Martinsson and Tropp 2011, algorithms 4.4 and 5.1, without oversampling, as sd-mecha has it); the projection depends
    on ``approximate_basis_seed``, the tensor's name and nothing else.
    """
    if not basis["use_approximate_basis"]:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u[:, :count], s[:count], vh[:count]
    if matrix.shape[0] < matrix.shape[1]:
        v, s, uh = leading(matrix.mT, count, key, basis)
        return uh.mT, s, v.mT
    stream = Stream(basis["approximate_basis_seed"], key)
    probes = stream.normal(matrix.shape[1] * count).view(matrix.shape[1], count).to(matrix)
    q = torch.linalg.qr(matrix @ probes)[0]
    for _ in range(max(0, int(basis["approximate_basis_iters"]))):
        q = torch.linalg.qr(matrix.mT @ q)[0]
        q = torch.linalg.qr(matrix @ q)[0]
    u, s, vh = torch.linalg.svd(q.mT @ matrix, full_matrices=False)
    return q @ u, s, vh


def truncate_kronecker(a: Tensor, *, place: Place, kronecker_ratio: float, **basis: Any) -> Tensor:
    """The nearest delta that is a Kronecker product of two smaller ones (Van Loan and Pitsianis 1993).

    Args:
        a: whole tensor; with fewer than two dimensions returned as it is.
        kronecker_ratio: 0 the smallest first factor, 1/2 both of like size, 1 the largest; see ``factor_shape``.
        basis: as for ``truncate_rank``.
    """
    if a.dim() < 2 or not a.numel():
        return a
    m1, n1 = factor_shape(tuple(a.shape), kronecker_ratio)
    m2, n2, rest = a.shape[0] // m1, a.shape[1] // n1, math.prod(a.shape[2:])
    work = a.to(torch.promote_types(a.dtype, torch.float32))
    tiled = work.reshape(m1, m2, n1, n2 * rest).permute(0, 2, 1, 3)
    u, s, vh = leading(tiled.reshape(m1 * n1, m2 * n2 * rest), 1, place.key, basis)
    product = (u * s) @ vh
    return product.view(m1, n1, m2, n2 * rest).permute(0, 2, 1, 3).reshape(a.shape).to(a.dtype)


def factor_shape(shape: tuple[int, ...], ratio: float) -> tuple[int, int]:
    """Rows and columns of the first factor: the divisors whose product is nearest to the ratio, then the most even.

    The measure is the logarithm of the first factor's size over the square root of the tensor's; ``ratio`` 0 to 1 goes
    evenly from its greatest negative to its greatest positive distance from 0 (sd-mecha's rule).
    """
    middle = 0.5 * math.log(math.prod(shape))
    found = [(math.log(m * n) - middle, m, n) for m in _divisors(shape[0]) for n in _divisors(shape[1])]
    reach = max(abs(size) for size, _, _ in found)

    def evenness(m: int, n: int) -> float:
        return abs(math.log(m * m / shape[0])) + abs(math.log(n * n / shape[1]))

    wanted = (2 * ratio - 1) * reach
    _, m, n = min(found, key=lambda entry: (abs(entry[0] - wanted), evenness(*entry[1:])))
    return m, n


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def isotropic(*deltas: Tensor, z: float) -> Tensor:
    """The sum of the deltas with singular values drawn to their mean: S' = mean + z·(S - mean).

    Args:
        deltas: whole tensors. Of fewer than two dimensions: their mean, as in the paper.
        z: 0, all singular values are the mean (Iso-C); 1, the sum itself. Above 1 the spread grows, and values below
            mean·(1 - 1/z) turn negative.
    """
    if deltas[0].dim() < 2 or not deltas[0].numel():
        return torch.stack(deltas).mean(dim=0)
    total = torch.stack(deltas).sum(dim=0) if len(deltas) > 1 else deltas[0]
    if z == 1:
        return total
    matrix = _matrix(total)
    if not matrix.isfinite().all():
        raise BadInput("isotropic", "values that are not finite", "finite deltas")
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    mean = s.mean()
    return ((u * (mean + z * (s - mean))) @ vh).reshape(total.shape).to(total.dtype)


def _matrix(a: Tensor) -> Tensor:
    return a.to(torch.promote_types(a.dtype, torch.float32)).flatten(start_dim=1)


METHODS: tuple[Method, ...] = (
    Method(
        name="truncate_rank",
        function=truncate_rank,
        inputs=("a",),
        options={"rank": 8, **BASIS_OPTIONS},
        space="delta",
        unit="tensor",
        placed=True,
        formula="the part of the delta in its ``rank`` largest singular values",
        reference="Eckart and Young 1936; Halko et al. 2011, arXiv:0909.4061; sd-mecha truncate_rank",
    ),
    Method(
        name="truncate_kronecker",
        function=truncate_kronecker,
        inputs=("a",),
        options={"kronecker_ratio": 0.5, **BASIS_OPTIONS},
        space="delta",
        unit="tensor",
        placed=True,
        formula="the nearest Kronecker product of two smaller tensors",
        reference="Van Loan and Pitsianis 1993; sd-mecha truncate_kronecker",
    ),
    Method(
        name="isotropic",
        function=isotropic,
        inputs=("a",),
        options={"z": 0.0},
        space="delta",
        unit="tensor",
        many=True,
        formula="U·(m + z·(S - m))·V of the summed deltas, m the mean of the singular values S; z = 0 is Iso-C, "
        "other z are Iso-Z",
        reference="Marczak et al. 2025, No Task Left Behind: Isotropic Model Merging, arXiv:2502.04959 (Iso-C); "
        "6DammK9's isotropic_overrided (Iso-Z)",
    ),
)
