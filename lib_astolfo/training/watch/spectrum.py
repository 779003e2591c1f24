"""How the pictures of a data set spread: the variances of their modes, which the best possible loss depends on.

A mode is a product of two cosines (DCT-II) over a latent's height and width. Modes of nearly one frequency are taken
together, over all pictures and whatever their shapes, and their channels are made independent. The mean, which a
network knows, is taken out: the mean picture where all have one shape and are several, else the mean colour.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

SHELLS = 24  # of frequency, from none to the finest, each with as many modes
SEVERAL = 16  # pictures that a mean picture is worth taking of
LEAST = 1e-6  # of the largest variance: what no picture has is not divided by


def spectrum(latents: Sequence[Tensor], shells: int = SHELLS) -> Tensor:
    """Variances, float64 [shells · channels] or fewer for tiny latents, all of equal weight, from scaled latents
    [C, h, w] of any sizes. Raises ValueError for none.
    """
    if not latents:
        raise ValueError("no latents")
    held = [latent.detach().double().cpu() for latent in latents]
    middle = _mean(held)
    channels = len(held[0])
    sums = torch.zeros(shells, channels, channels, dtype=torch.float64)
    counts = torch.zeros(shells, dtype=torch.float64)
    for latent in held:
        modes = _modes(latent - middle)
        places = _shells(latent.shape[1], latent.shape[2], shells)
        sums.index_add_(0, places, (modes[:, None] * modes[None, :]).permute(2, 0, 1))
        counts += torch.bincount(places, minlength=shells)
    covariance = sums[counts > 0] / counts[counts > 0][:, None, None]
    variances = torch.linalg.eigvalsh(covariance).flatten()
    return variances.clamp(min=max(float(variances.max()) * LEAST, 1e-12))


def _mean(latents: Sequence[Tensor]) -> Tensor:
    if len(latents) >= SEVERAL and len({latent.shape for latent in latents}) == 1:
        return torch.stack(list(latents)).mean(dim=0)
    total = sum(latent.sum(dim=(1, 2)) for latent in latents)
    pixels = sum(latent.shape[1] * latent.shape[2] for latent in latents)
    return torch.as_tensor(total / pixels)[:, None, None]


def _modes(values: Tensor) -> Tensor:
    """Orthonormal DCT-II coefficients [C, h·w] of [C, h, w]."""
    rows, columns = _cosines(values.shape[1]), _cosines(values.shape[2])
    return (rows @ values @ columns.T).flatten(1)


@functools.lru_cache(maxsize=64)
def _cosines(size: int) -> Tensor:
    """The DCT-II matrix [size, size], orthonormal (Ahmed, Natarajan and Rao 1974)."""
    place = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * (place[None] + 0.5) * place[:, None]) * math.sqrt(2.0 / size)
    matrix[0] /= math.sqrt(2.0)
    return matrix


@functools.lru_cache(maxsize=64)
def _shells(height: int, width: int, shells: int) -> Tensor:
    """The shell of each mode, int64 [h·w]: by rank of frequency, the last of the shells the finest."""
    rows = torch.arange(height, dtype=torch.float64)[:, None] / height
    columns = torch.arange(width, dtype=torch.float64)[None] / width
    frequency = (rows**2 + columns**2).flatten()
    rank = frequency.argsort(stable=True).argsort(stable=True)
    return rank * shells // (height * width)
