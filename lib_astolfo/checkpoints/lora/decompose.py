"""Matrices as products of thin ones, and as Kronecker products.

Randomized SVD: Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithms 4.4 and 5.1. Nearest Kronecker product:
Van Loan and Pitsianis 1993, "Approximation with Kronecker products": the rearranged matrix cut to rank 1.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_astolfo.errors import BadInput

#: Further columns of a sketch, and passes of the power iteration.
OVERSAMPLING = 16
PASSES = 3
#: Columns of the first sketch where the rank is not known before.
FIRST_SKETCH = 64


@dataclass(frozen=True)
class Cut:
    """Where a decomposition is cut.

    Attributes:
        rank: at most this many singular values; 0: no limit.
        energy: as few as hold this share of the sum of their squares; 1: all.
        threshold: those below this share of the largest fall away.
        exact: a full SVD in place of a randomized one.
    """

    rank: int = 0
    energy: float = 1.0
    threshold: float = 0.0
    exact: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 0:
            raise BadInput("rank", repr(self.rank), "a whole number, 0 for no limit")
        for name, low_is_open in (("energy", True), ("threshold", False)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise BadInput(name, repr(value), "a number from 0 to 1")
            if low_is_open and value == 0:
                raise BadInput(name, repr(value), "a number above 0, 1 for all")

    @property
    def adaptive(self) -> bool:
        """Whether the rank depends on the singular values."""
        return self.energy < 1 or self.threshold > 0

    def of(self, values: Tensor, total: float) -> int | None:
        """Rank for singular values in falling order, at least 1; None if these are too few to tell.

        ``total``: sum of the squares of all singular values.
        """
        if not len(values) or total == 0:
            return 1
        found = len(values)
        complete = float(values.double().square().sum()) >= total * (1 - 1e-6)
        if self.threshold > 0:
            above = int((values >= self.threshold * values[0]).sum())
            if above == len(values) and not complete and (not self.rank or above < self.rank):
                return None
            found = above
        if self.energy < 1:
            reached = values.double().square().cumsum(0) >= self.energy * total
            if not bool(reached.any()) and not complete and (not self.rank or len(values) < self.rank):
                return None
            found = min(found, int((~reached).sum()) + 1)
        return max(1, min(found, len(values), self.rank or found))


def low_rank(matrix: Tensor, cut: Cut, name: str = "") -> tuple[Tensor, Tensor]:
    """up [rows, r] and down [r, columns] whose product is near ``matrix``, equally large; fp32.

    ``name`` seeds the random numbers, so that nothing else has a part in them.
    """
    u, s, v = _svd(matrix.float(), cut, name)
    root = s.sqrt()
    return u * root, root[:, None] * v


def _svd(matrix: Tensor, cut: Cut, name: str) -> tuple[Tensor, Tensor, Tensor]:
    limit = min(matrix.shape)
    size = cut.rank if cut.rank else FIRST_SKETCH
    total = float(torch.linalg.vector_norm(matrix)) ** 2
    while not cut.exact and (cut.rank or cut.adaptive) and 3 * (size + OVERSAMPLING) < limit:
        u, s, v = randomized(matrix, size + OVERSAMPLING, name)
        count = cut.of(s[:size], total) if cut.adaptive else min(size, limit)
        if count is not None:
            return u[:, :count], s[:count], v[:count]
        size *= 2
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    count = cut.of(s, total) or len(s)
    return u[:, :count], s[:count], v[:count]


def randomized(matrix: Tensor, size: int, name: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """The first ``size`` singular values and vectors, nearly: u [rows, size], s, v [size, columns]."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1
    generator = torch.Generator().manual_seed(seed)
    sketch = torch.randn(matrix.shape[1], size, generator=generator).to(matrix.device)
    basis = torch.linalg.qr(matrix @ sketch).Q
    for _ in range(PASSES):
        basis = torch.linalg.qr(matrix.T @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    u, s, v = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return basis @ u, s, v


def product_low_rank(up: Tensor, down: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    """The same for a product up [rows, R] @ down [R, columns] that is never formed: QR of both, SVD of R x R."""
    left, right = torch.linalg.qr(up.float()), torch.linalg.qr(down.float().T)
    u, s, v = torch.linalg.svd(left.R @ right.R.T, full_matrices=False)
    count = cut.of(s, float(s.double().square().sum())) or len(s)
    root = s[:count].sqrt()
    return left.Q @ (u[:, :count] * root), (root[:, None] * v[:count]) @ right.Q.T


def kronecker(matrix: Tensor, first: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """w1 [a, c] and w2 [b, d, ...] with kron(w1, w2) nearest to ``matrix`` [a·b, c·d, ...]; ``first`` is (a, c)."""
    a, c = first
    b, d, kernel = matrix.shape[0] // a, matrix.shape[1] // c, tuple(matrix.shape[2:])
    width = math.prod(kernel)
    rearranged = matrix.float().reshape(a, b, c, d, width).permute(0, 2, 1, 3, 4).reshape(a * c, b * d * width)
    wide = rearranged.shape[0] <= rearranged.shape[1]
    side = rearranged if wide else rearranged.T
    vector = torch.linalg.eigh((side @ side.T).double()).eigenvectors[:, -1].float()
    for _ in range(2):  # the Gram matrix has lost half of the digits
        other = side.T @ vector
        vector = side @ other
        vector = vector / torch.linalg.vector_norm(vector).clamp_min(1e-30)
    other = side.T @ vector
    root = torch.linalg.vector_norm(other).sqrt().clamp_min(1e-30)
    left, right = (vector * root, other / root) if wide else (other / root, vector * root)
    return left.reshape(a, c), right.reshape(b, d, *kernel)
