"""Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) and its variants, as formulas on tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import BadInput
from .conditioning import Conditioning
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
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not low <= value <= high:
                raise BadInput(f"guidance {name}", repr(value), f"a number from {low:g} to {high:g}")
            object.__setattr__(self, name, float(value))


def cfg(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """uncond + scale (cond - uncond); any shapes that broadcast, any of x0, eps, v or velocity."""
    return uncond + scale * (cond - uncond)


def cfg_rescale(guided: Tensor, cond: Tensor, rescale: float) -> Tensor:
    """Pull the spread of ``guided`` towards that of ``cond``: Lin et al. 2023 (arXiv:2305.08891), equation 16.

    Both [B, ...] in the space of the network's output (v for v models, the velocity for rf); the standard deviation
    is that of each batch member.
    """
    dims = tuple(range(1, guided.ndim))
    ratio = cond.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True)
    return guided * (rescale * ratio + (1.0 - rescale))


class GuidedDenoiser:
    """A denoiser with guidance, callable by every k-diffusion sampler with ``extra_args={"cond": …, "uncond": …}``."""

    def __init__(self, denoiser: Denoiser, guidance: Guidance) -> None:
        self.denoiser = denoiser
        self.inner_model = denoiser
        self.guidance = guidance

    def __call__(self, x: Tensor, sigma: Tensor, *, cond: Conditioning, uncond: UncondPlan) -> Tensor:
        """The guided x0 [B, ...] at ``x`` [B, ...] and ``sigma`` [B]."""
        raise NotImplementedError
