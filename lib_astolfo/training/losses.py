"""Distances between a network's output and its target, one number an item."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.schedule import TIMESTEPS
from . import checks
from .times import Moments

LOSSES = ("mse", "l1", "huber", "smooth_l1")
SCHEDULES = ("constant", "exponential", "snr")


@dataclass(frozen=True)
class Loss:
    """``kind``, with d = output - target and c the threshold: ``mse`` d², ``l1`` |d|, ``huber`` 2c(√(d²+c²)-c),
    ``smooth_l1`` 2(√(d²+c²)-c) (sd-scripts library/train_util.py, conditional_loss).

    ``huber_schedule``: c over the noise levels: ``constant``; ``exponential`` huber_c^(timestep/1000), from 1 down to
    huber_c; ``snr`` (1-huber_c)/(1+σ/α)² + huber_c. ``huber_scale``: factor of c, not for ``snr``, as there.
    """

    kind: str = "mse"
    huber_c: float = 0.1
    huber_schedule: str = "snr"
    huber_scale: float = 1.0

    def __post_init__(self) -> None:
        checks.choice(self, "kind", "loss", LOSSES)
        checks.choice(self, "huber_schedule", "loss", SCHEDULES)
        checks.number(self, "huber_c", "loss", (1e-6, 1e3))
        checks.number(self, "huber_scale", "loss", (1e-6, 1e3))

    @property
    def thresholded(self) -> bool:
        """Whether the kind has a threshold."""
        return self.kind in ("huber", "smooth_l1")


def threshold(loss: Loss, moments: Moments) -> Tensor:
    """c at the noise levels, float64 [B]."""
    if loss.huber_schedule == "snr":
        clean = moments.alpha / (moments.alpha + moments.sigma)  # 1/(1+σ/α), 0 without a picture
        return (1.0 - loss.huber_c) * clean**2 + loss.huber_c
    if loss.huber_schedule == "exponential":
        return torch.exp(math.log(loss.huber_c) * moments.timestep.double() / TIMESTEPS) * loss.huber_scale
    return torch.full_like(moments.alpha, loss.huber_c * loss.huber_scale)


def per_item(output: Tensor, target: Tensor, moments: Moments, loss: Loss, *, mask: Tensor | None = None) -> Tensor:
    """The loss of each item, [B] in float32 or better, differentiable in ``output`` [B, …].

    ``mask``: broadcasts to ``output``, 0 to 1, factor of each element's loss; the mean stays over all elements, so a
    pixel's gradient does not depend on how much else is masked (sd-scripts library/custom_train_functions.py,
    apply_masked_loss).
    """
    dtype = torch.promote_types(output.dtype, torch.float32)
    difference = output.to(dtype) - target.to(dtype)
    if loss.kind == "mse":
        each = difference * difference
    elif loss.kind == "l1":
        each = difference.abs()
    else:
        shape = (-1,) + (1,) * (output.ndim - 1)
        c = threshold(loss, moments).to(dtype).to(output.device).view(shape)
        each = 2.0 * ((difference * difference + c * c).sqrt() - c)
        if loss.kind == "huber":
            each = each * c
    if mask is not None:
        each = each * mask.to(dtype)
    return each.flatten(1).mean(dim=1)
