"""Noise that depends on a picture's own seed only, not on its place in a batch, nor on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import BadInput
from .kdiffusion import sampling_module

NoiseSampler = Callable[[Tensor, Tensor], Tensor]


class PictureNoise:
    """Unit normal noise for a batch: one CPU generator per picture, whose draws follow each other.

    ``seeds``: one whole number a picture, 0 to 2⁶⁴-1. ``shape``: of one picture's latent, without the batch.
    Draw the initial latent first; a sampler that adds noise goes on with the same generators.
    """

    def __init__(self, seeds: Sequence[int], shape: Sequence[int]) -> None:
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
                raise BadInput("seed", repr(seed), "a whole number from 0 to 2^64 - 1")
        self.seeds = tuple(seeds)
        self.shape = tuple(shape)
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def draw(self, device: torch.device | str = "cpu") -> Tensor:
        """The next noise, float32 [B, *shape]."""
        return torch.stack([torch.randn(self.shape, generator=each) for each in self._generators]).to(device)

    def ancestral(self, x: Tensor) -> NoiseSampler:
        """For samplers that add fresh noise at every step: ``noise(sigma, sigma_next)`` shaped as ``x``."""
        return lambda sigma, sigma_next: self.draw(x.device).to(x.dtype)

    def brownian(self, x: Tensor, sigmas: Tensor) -> NoiseSampler:
        """For SDE samplers: one Brownian path a picture over the range of ``sigmas``, whatever the steps."""
        low, high = 0.999 * float(sigmas[sigmas > 0].min()), 1.001 * float(sigmas.max())  # torchsde rounds its ends
        blank = torch.zeros((len(self.seeds), *self.shape))
        seeds = [seed % 2**63 for seed in self.seeds]
        tree = sampling_module().BrownianTreeNoiseSampler(blank, low, high, seed=seeds)
        return lambda sigma, sigma_next: tree(_cpu(sigma), _cpu(sigma_next)).to(x.device, x.dtype)


def _cpu(sigma: Tensor) -> Tensor:
    return torch.as_tensor(sigma).cpu()
