"""Order statistics of cosines that come in pieces: a histogram with the least and the greatest value of every bin.

Cosines of finetunes lie close below 1, so the bins are fine there: they divide the octaves of 1 - cosine evenly.
A rank that falls on a bin's first or last value is exact; between, the value is interpolated within a bin that spans
0.2 % of 1 - cosine.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Bins to an octave are 2 to this power.
_FINE = 9
#: Octaves of 1 - cosine, from 2^-25 to 2.
_OCTAVES = 26
BINS = _OCTAVES << _FINE


def histogram(cosines: Tensor) -> Tensor:
    """Count, least and greatest value of each bin; float64 [3, BINS], infinities in the empty bins."""
    counts = torch.zeros(3, BINS, dtype=torch.float64, device=cosines.device)
    counts[1], counts[2] = torch.inf, -torch.inf
    where = _bin(cosines)
    counts[0].index_add_(0, where, torch.ones_like(cosines))
    counts[1].scatter_reduce_(0, where, cosines, "amin")
    counts[2].scatter_reduce_(0, where, cosines, "amax")
    return counts


def combine(a: Tensor, b: Tensor) -> Tensor:
    """The histogram of both."""
    return torch.stack((a[0] + b[0], torch.minimum(a[1], b[1]), torch.maximum(a[2], b[2])))


def value(counts: Tensor, rank: int) -> float:
    """The value that has ``rank`` smaller ones; the histogram is not empty."""
    ends = counts[0].cumsum(0)
    where = int(torch.searchsorted(ends, torch.tensor(float(rank), dtype=ends.dtype, device=ends.device), right=True))
    count, least, greatest = counts[:, where].tolist()
    before = rank - (float(ends[where]) - count)
    return least + (greatest - least) * (before / (count - 1)) if count > 1 else least


def _bin(cosines: Tensor) -> Tensor:
    """Index of each cosine's bin, growing with the cosine."""
    distance = (1 - cosines).clamp(2.0 ** (2 - _OCTAVES - 1), 2.0).to(torch.float32)
    steps = distance.view(torch.int32) >> (23 - _FINE)
    most = torch.tensor(2.0).view(torch.int32) >> (23 - _FINE)
    return (int(most) - steps).clamp_(0, BINS - 1).long()
