"""Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) and its variants, as formulas on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import BadInput
from .conditioning import Conditioning
from .prediction import Prediction
from .uncond import UncondPlan

if TYPE_CHECKING:
    from .denoiser import Denoiser


@dataclass(frozen=True)
class Guidance:
    """``scale``: the CFG scale, 1 is none. ``rescale``: φ of Lin et al. 2023, 0 is none, 1 is full."""

    scale: float = 7.0
    rescale: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (("scale", -100.0, 1000.0), ("rescale", 0.0, 1.0)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                raise BadInput(f"guidance {name}", repr(value), f"a number from {low:g} to {high:g}")
            object.__setattr__(self, name, float(value))


def cfg(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """uncond + scale (cond - uncond); any shapes that broadcast, any of x0, eps, v or velocity."""
    return uncond + scale * (cond - uncond)


def cfg_and(conds: Sequence[tuple[Tensor, float]], uncond: Tensor, scale: float) -> Tensor:
    """Several weighted conds, as A1111's AND: uncond + Σ scale weight (cond - uncond).

    Liu et al. 2022, arXiv:2206.01714; A1111 modules/sd_samplers_cfg_denoiser.py:74-82.
    """
    guided = uncond.clone()
    for cond, weight in conds:
        guided += (cond - uncond) * (weight * scale)
    return guided


def cfg_perturbed(guided: Tensor, cond: Tensor, perturbed: Tensor, scale: float) -> Tensor:
    """Away from a weakened pass too: guided + scale (cond - perturbed); Ahn et al. 2024, arXiv:2403.17377."""
    return guided + scale * (cond - perturbed)


def cfg_rescale(guided: Tensor, cond: Tensor, rescale: float) -> Tensor:
    """Pull the spread of ``guided`` towards that of ``cond``: Lin et al. 2023 (arXiv:2305.08891), equations 15-16.

    Both [B, ...] in the space of the network's output (v for v models, the velocity for rf); the standard deviation
    is that of each batch member. Where ``guided`` has none, it stays as it is.
    """
    return guided * _factor(guided, cond, rescale)


def _factor(guided: Tensor, cond: Tensor, rescale: float) -> Tensor:
    """[B, 1, ...]; 1 where ``guided`` has no spread."""
    dims = tuple(range(1, guided.ndim))
    ratio = cond.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True)
    return ratio.nan_to_num(nan=1.0, posinf=1.0) * rescale + (1.0 - rescale)


def rescale_x0(guided: Tensor, cond: Tensor, x: Tensor, sigma: Tensor, *, rescale: float, row: Prediction) -> Tensor:
    """``cfg_rescale`` for denoised pictures [B, ...] at ``x`` and ``sigma`` [B] in the coordinates of ``row``.

    Done on the velocity for rectified flow and on v for all else: raw outputs of eps networks would be scaled towards
    the noise (ComfyUI nodes_model_advanced.py RescaleCFG converts likewise; on flow its formula does not hold).
    """
    origin = _origin(x, sigma.reshape((-1,) + (1,) * (x.ndim - 1)).to(x.dtype), row)
    output = guided - origin
    return torch.addcmul(origin, output, _factor(output, cond - origin, rescale))


def _origin(x: Tensor, s: Tensor, row: Prediction) -> Tensor:
    """Where the velocity or v is 0: both are (this - x0) / σ, and the ratio of two spreads does not know of 1 / σ."""
    if row.native:
        return x
    return x / (1.0 + (s if row.name == "rf_ve" else s * s))


def cfgpp_step(
    x: Tensor,
    guided: Tensor,
    uncond: Tensor,
    sigma: Tensor | float,
    sigma_next: Tensor | float,
    *,
    native: bool = False,
) -> Tensor:
    """One Euler step of CFG++ (Chung et al. 2024, arXiv:2406.08070): the noise is taken from the uncond.

    ``guided``: x0 at a scale from 0 to 1. ``native``: rectified flow in its own coordinates.
    """
    share = 1.0 - sigma if native else 1.0
    share_next = 1.0 - sigma_next if native else 1.0
    return share_next * guided + sigma_next * ((x - share * uncond) / sigma)


class GuidedDenoiser:
    """A denoiser with guidance, callable by every k-diffusion sampler with ``extra_args={"cond": …, "uncond": …}``.

    The network of ``denoiser`` is called as ``network(x_in, timestep, cond=Conditioning)``, cond and uncond in one
    batch, cond first; with scale 1 there is no uncond pass.
    """

    def __init__(self, denoiser: Denoiser, guidance: Guidance) -> None:
        self.denoiser = denoiser
        self.inner_model = denoiser
        self.guidance = guidance

    def __call__(self, x: Tensor, sigma: Tensor, *, cond: Conditioning, uncond: UncondPlan) -> Tensor:
        """The guided x0 [B, ...] at ``x`` [B, ...] and ``sigma`` [B]."""
        if self.guidance.scale == 1.0:
            return self.denoiser(x, sigma, cond=cond.expand(len(x)))
        return self.pair(x, sigma, cond=cond, uncond=uncond)[0]

    def pair(self, x: Tensor, sigma: Tensor, *, cond: Conditioning, uncond: UncondPlan) -> tuple[Tensor, Tensor]:
        """The guided x0 and the uncond's x0, each [B, ...]."""
        both = Conditioning.cat([cond.expand(len(x)), uncond.at(sigma).expand(len(x))])
        denoised = self.denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), cond=both)
        with_cond, without = denoised.chunk(2)
        guided = cfg(with_cond, without, self.guidance.scale)
        if self.guidance.rescale:
            rescale, row = self.guidance.rescale, self.denoiser.row
            guided = rescale_x0(guided, with_cond, x.to(guided.dtype), sigma, rescale=rescale, row=row)
        return guided, without
