"""Losses that can be compared between objectives: per noise level, against what the best network would reach.

For a network that answers F = p x0 + q n at z = α x0 + σ n, with d = α q - σ p, an error of F is one of the picture
times d/σ. So the mean squared loss times (σ/d)² is the error of the picture, whatever is predicted. For Gaussian
pictures with variance s of each mode no network does better than a loss of

    s d² / (α² s + σ²),

which is α²s/(α²s+σ²) for eps (d = α) and s/(α²s+σ²) for v and rf (d = 1). The loss divided by it does not depend on the
objective either. Raw losses do: one model predicts 0.09 under v with min-SNR and 0.5 under rf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.prediction import row_of
from ..diffusion.sampling import Sampling
from ..errors import BadInput
from .times import Moments

EDGES = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # of ln(σ/α): SDXL's schedule spans -3.5 to 2.7


def determinant(moments: Moments, sampling: Sampling) -> Tensor:
    """d = α q - σ p, float64 [B]."""
    p, q = row_of(sampling, native=True).pair(moments.alpha, moments.sigma, 0.5)
    return moments.alpha * q - moments.sigma * p


def picture_error(loss: Tensor, moments: Moments, sampling: Sampling) -> Tensor:
    """The mean squared error of the picture, float64 [B], from the unweighted mean squared ``loss`` [B]."""
    return loss.detach().double().cpu() * (moments.sigma / determinant(moments, sampling)) ** 2


def oracle(spectrum: Tensor, moments: Moments, sampling: Sampling) -> Tensor:
    """The least mean squared loss for Gaussian pictures, float64 [B]; ``spectrum``: variances of their modes [M]."""
    s = spectrum.double().cpu()[None, :]
    alpha, sigma, d = (each[:, None] for each in (moments.alpha, moments.sigma, determinant(moments, sampling)))
    return (s * d**2 / (alpha**2 * s + sigma**2)).mean(dim=1)


def against_oracle(loss: Tensor, moments: Moments, sampling: Sampling, spectrum: Tensor) -> Tensor:
    """``loss`` over ``oracle``, float64 [B]: the same for every objective, 1 for the best network."""
    return loss.detach().double().cpu() / oracle(spectrum, moments, sampling)


@dataclass(frozen=True)
class Curve:
    """Sums of a value over bins of ln(σ/α), below the first edge to above the last: ``len(edges) + 1`` bins."""

    sums: tuple[float, ...]
    counts: tuple[int, ...]
    edges: tuple[float, ...] = EDGES

    def __add__(self, other: Curve) -> Curve:
        if self.edges != other.edges:
            raise BadInput("edges", other.edges, f"the same bins, {self.edges}")
        sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        return Curve(sums, tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)), self.edges)

    @property
    def means(self) -> tuple[float, ...]:
        """The mean of each bin, NaN for empty ones."""
        return tuple(s / n if n else math.nan for s, n in zip(self.sums, self.counts, strict=True))

    @property
    def mean(self) -> float:
        """The mean over all, NaN for none."""
        return sum(self.sums) / sum(self.counts) if sum(self.counts) else math.nan


def curve(values: Tensor, moments: Moments, edges: tuple[float, ...] = EDGES) -> Curve:
    """``values`` [B] in bins by the items' noise levels; pure noise lies in the last one. Non-finite ones count."""
    places = torch.bucketize(moments.ratio.log(), torch.tensor(edges, dtype=torch.float64), right=True)
    sums = torch.zeros(len(edges) + 1, dtype=torch.float64).index_add_(0, places, values.detach().double().cpu())
    counts = torch.bincount(places, minlength=len(edges) + 1)
    return Curve(tuple(sums.tolist()), tuple(counts.tolist()), edges)
