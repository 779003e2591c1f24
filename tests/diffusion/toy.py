"""The toy of the golden trajectories: an exact denoiser for Gaussian data whose mean is set by the conditioning.

x0 ~ N(m B, 0.25 I), where m is the (constant) value of the text tokens: 1 for cond, -0.2 for null, 0 for zero.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.prediction import TABLE, Prediction, flow_path, vp_path
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import zero
from tests.diffusion.golden_data import tensors

VARIANCE = 0.25


def posterior(z: Tensor, mean: Tensor | float, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The best x0 and noise at z = alpha x0 + sigma n."""
    x0 = mean + alpha * VARIANCE / (VARIANCE * alpha**2 + sigma**2) * (z - alpha * mean)
    return x0, (z - alpha * x0) / sigma


def text(value: float) -> Conditioning:
    """Conditioning for the mean ``value``."""
    return Conditioning(torch.full((1, 77, 2), value), torch.full((1, 3), value), pooled=2)


COND, NULL = text(1.0), text(-0.2)
UNCONDS = {"null": NULL, "zero": zero(COND)}


Mean = Callable[[Conditioning], Tensor]


def network(sampling: Sampling, mean_of: Mean, *, like: str = "a1111") -> Callable[..., Tensor]:
    """A perfect network of the sampling's prediction type, which knows nothing but z and its timestep."""
    levels = Denoiser(lambda x, t: x, sampling, like=like, native=True).levels
    row: Prediction = TABLE[sampling.prediction]

    def answer(z: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        shape = (-1, 1, 1, 1)
        if levels.flow:
            alpha, sigma = flow_path((timestep / 1000).reshape(shape))
        else:
            alpha, sigma = vp_path(levels.at(timestep).reshape(shape))
        x0, noise = posterior(z, mean_of(cond), alpha, sigma)
        return row.target(x0, noise, alpha, sigma, weight=sampling.mixed_weight)

    return answer


def golden_mean(cond: Conditioning) -> Tensor:
    """m B for the golden trajectories."""
    return cond.crossattn[:, 0, 0].reshape(-1, 1, 1, 1) * tensors("toy_definition")["B"]
