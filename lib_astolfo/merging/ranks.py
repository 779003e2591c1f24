"""Ranks of magnitudes over a whole tensor, from histograms of float32 bits gathered part by part.

The bits of a non-negative float32, read as an integer, are in the order of the values. So counting the upper 15 bits of
|x| and then, inside one of those bins, the lower 16 finds the k-th smallest magnitude exactly in two passes, and the
first count alone is the distribution of magnitudes with steps of 2^-7 of the value. Of a small tensor the k-th is
looked for at once, because two histograms are longer than it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

#: Bins of the upper bits (exponent and 7 bits of the mantissa) and of the lower ones.
UPPER = 1 << 15
LOWER = 1 << 16
#: Values of a small tensor at most.
SMALL = 1 << 15


def upper_bits(values: Tensor, out: Tensor) -> Tensor:
    """Bin of each magnitude: ``out`` int32, ``values`` contiguous float32 of the same number of elements."""
    return torch.bitwise_right_shift(values.view(torch.int32), 16, out=out).bitwise_and_(UPPER - 1)


def lower_bits(values: Tensor, bin_: int) -> Tensor:
    """The lower bits of those magnitudes that lie in a bin, int32 [how many]; ``values`` as in ``upper_bits``."""
    words = torch.bitwise_and(values.view(torch.int32), (1 << 31) - 1).sub_(bin_ << 16)
    if words.device.type != "cpu":
        return words[(words >= 0) & (words < LOWER)]
    inside = np.flatnonzero(words.numpy().view(np.uint32) < LOWER)
    return torch.from_numpy(words.numpy()[inside])


def counted(rows: Tensor | Sequence[Tensor], bins: int) -> Tensor:
    """How often each bin occurs in each row, int64 [rows, bins]; ``rows`` int32, of any lengths, overwritten."""
    for number, row in enumerate(rows):
        row.add_(number * bins)
    together = rows.view(-1) if isinstance(rows, Tensor) else torch.cat(list(rows))
    return torch.bincount(together, minlength=len(rows) * bins).view(len(rows), bins)


def add_counts(total: Tensor, counts: Tensor) -> Tensor:
    """``total`` with further counts added to it, in place."""
    return total.add_(counts)


def rank_of(n: int, k: float) -> int:
    """sd-mecha's rule: of n values the one of rank max(int((1 - k)·n), 1) and all that are not smaller are kept."""
    return max(int((1 - k) * n), 1)


def kth_magnitude(values: Tensor, k: float) -> float:
    """The smallest magnitude that is kept of a small tensor, exactly; ``values`` contiguous float32, not empty."""
    bits = torch.bitwise_and(values.view(-1).view(torch.int32), (1 << 31) - 1).cpu().numpy()
    place = rank_of(bits.size, k) - 1
    return float(np.partition(bits, place)[place : place + 1].view(np.float32)[0])


def kth_bin(counts: Tensor, k: float) -> Tensor:
    """In which bin the smallest magnitude that is kept lies, by ``rank_of``.

    Args:
        counts: of the upper bits, [models, UPPER].
        k: share to keep, 0 to 1.

    Returns:
        float64 [models, 2]: the bin, and the rank among the values inside it, from 1.
    """
    return bins_of(counts, lambda n: [rank_of(n, k)])


def bins_of(counts: Tensor, wanted: Callable[[int], Sequence[int]]) -> Tensor:
    """In which bins the magnitudes of some ranks lie.

    Args:
        counts: of the upper bits, [models, UPPER].
        wanted: gives the ranks, 1 the smallest, for a number of values; each from 1 to that number.

    Returns:
        float64 [models times ranks, 2]: the bin, and the rank among the values inside it, from 1.
    """
    found = []
    for row in counts.cpu():
        below = row.cumsum(0)
        for rank in wanted(int(below[-1])):
            bin_ = min(int((below < rank).sum()), UPPER - 1)
            found.append((bin_, rank - int(below[bin_ - 1]) if bin_ else rank))
    return torch.tensor(found, dtype=torch.float64)


def kth_value(bins: Tensor, counts: Tensor) -> Tensor:
    """The magnitudes that ``kth_bin`` or ``bins_of`` looks for, exactly.

    Args:
        bins: what it gave, [ranks, 2].
        counts: of the lower bits inside those bins, [ranks, LOWER].

    Returns:
        float64 [ranks].
    """
    bits = []
    for (bin_, rank), row in zip(bins.tolist(), counts.cpu(), strict=True):
        bits.append((int(bin_) << 16) + min(int((row.cumsum(0) < rank).sum()), LOWER - 1))
    return torch.from_numpy(np.array(bits, dtype=np.int32).view(np.float32)).double()


def just_below(value: float) -> float:
    """The next smaller float32, so that ``hardshrink`` keeps ``value`` itself; negative for 0."""
    return float(np.nextafter(np.float32(value), np.float32(-math.inf)))


def keep_probability(counts: Tensor, probability: float, della_eps: float) -> Tensor:
    """DELLA's chance of being kept, for each bin of magnitudes.

    1 - probability + (rank/n - (n + 1)/(2n))·della_eps inside 0 to 1, where ``rank`` is the mean of the ranks (1 the
    smallest magnitude) of the values in the bin.

    Args:
        counts: of the upper bits, [models, UPPER].
        probability: of dropping, on average.
        della_eps: how much more the largest magnitudes are kept than the smallest.

    Returns:
        float64 [models, UPPER].
    """
    counts = counts.double()
    below = counts.cumsum(1)
    n = below[:, -1:].clamp(min=1)
    rank = below - counts + (counts + 1) / 2
    return (1 - probability + (rank / n - (n + 1) / (2 * n)) * della_eps).clamp(0, 1)


def limits(probabilities: Tensor) -> Tensor:
    """``chance.limit`` of each probability, int32 of the same shape."""
    half = float(1 << 31)
    words = (probabilities.double() * (2 * half)).round() - half
    return words.clamp(-half, half - 1).to(torch.int32)
