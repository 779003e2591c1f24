"""Which noise levels training draws, and what they are.

A time t runs from 0 (picture) to 1 (noise). For eps, v and x0 it chooses one of the 1000 timesteps, floor(1000 t); for
rf it is the share of noise itself, and the network is told 1000 t, as in sampling.

The base distributions (Esser et al. 2024, arXiv:2403.03206, section 3.1) are drawn through their quantile functions, so
that a range keeps their shape within it, and a stratified draw is a matter of the uniform number that goes in.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.levels import Levels
from ..diffusion.sampling import Sampling
from ..diffusion.schedule import TIMESTEPS, alphas_cumprod
from ..errors import BadInput
from . import checks
from .draws import Draws

DISTRIBUTIONS = ("uniform", "logit_normal", "mode")
MODE_SCALES = (-1.0, 2.0 / (math.pi - 2.0))  # where the mode distribution's quantile function is monotone
LEAST = 1e-6  # share of a distribution that a range must hold


@dataclass(frozen=True)
class Times:
    """How noise levels are drawn.

    ``distribution``: of t before the shift. ``uniform``; ``logit_normal``: sigmoid(N(``mean``, ``std``²)); ``mode``:
    Esser et al., equation 20, with ``mode_scale`` (0 is uniform, more is more of the middle).
    ``minimum``, ``maximum``: the range of t after the shift, 0 to 1; outside it nothing is drawn.
    ``stratified``: the draws of a batch lie in as many equal parts of the distribution, one in each.

    The shift of rf is the ``Sampling``'s own: a network is trained on the levels that it is sampled on.
    """

    distribution: str = "uniform"
    mean: float = 0.0
    std: float = 1.0
    mode_scale: float = 1.29
    minimum: float = 0.0
    maximum: float = 1.0
    stratified: bool = False

    def __post_init__(self) -> None:
        checks.choice(self, "distribution", "times", DISTRIBUTIONS)
        checks.number(self, "mean", "times", (-20.0, 20.0))
        checks.number(self, "std", "times", (0.01, 20.0))
        checks.number(self, "mode_scale", "times", MODE_SCALES)
        checks.number(self, "minimum", "times", (0.0, 1.0))
        checks.number(self, "maximum", "times", (0.0, 1.0))
        checks.flag(self, "stratified", "times")
        if self.minimum >= self.maximum:
            raise BadInput("times.maximum", self.maximum, f"more than times.minimum, {self.minimum:g}")


@dataclass(frozen=True)
class Moments:
    """The noise levels of a batch: z = α x0 + σ n.

    ``timestep``: float32 [B], what the network is told. ``alpha``, ``sigma``: float64 [B], CPU.
    """

    timestep: Tensor
    alpha: Tensor
    sigma: Tensor

    def rows(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ as [B, 1, …] beside ``like`` [B, …], on its device, in float32 or better."""
        shape = (-1,) + (1,) * (like.ndim - 1)
        dtype = torch.promote_types(like.dtype, torch.float32)
        return self.alpha.to(dtype).to(like.device).view(shape), self.sigma.to(dtype).to(like.device).view(shape)

    @property
    def snr(self) -> Tensor:
        """α²/σ², float64 [B]; 0 at the last timestep with zero terminal SNR."""
        return (self.alpha / self.sigma) ** 2

    @property
    def ratio(self) -> Tensor:
        """σ/α, the noise level of samplers, float64 [B]; infinite where there is no picture."""
        return self.sigma / self.alpha


def shifted(t: Tensor, shift: float) -> Tensor:
    """s t / (1 + (s-1) t) (Esser et al., equation 23); undone by 1/s."""
    return shift * t / (1.0 + (shift - 1.0) * t)


def quantile(times: Times, p: Tensor) -> Tensor:
    """The t below which a share ``p`` of the base distribution lies, float64 of any shape."""
    if times.distribution == "logit_normal":
        return torch.sigmoid(times.mean + times.std * torch.special.ndtri(p))
    if times.distribution == "mode":
        return p - times.mode_scale * (torch.sin(0.5 * math.pi * p) ** 2 - p)
    return p


def share_below(times: Times, t: Tensor) -> Tensor:
    """The share of the base distribution below ``t``, float64 of any shape: the opposite of ``quantile``."""
    if times.distribution == "logit_normal":
        return torch.special.ndtr((torch.logit(t) - times.mean) / times.std)
    if times.distribution == "mode":
        low, high = torch.zeros_like(t), torch.ones_like(t)
        for _ in range(60):
            middle = 0.5 * (low + high)
            less = quantile(times, middle) < t
            low, high = torch.where(less, middle, low), torch.where(less, high, middle)
        return torch.where(t >= 1.0, torch.ones_like(t), low)
    return t


@functools.lru_cache(maxsize=64)
def window(times: Times, shift: float) -> tuple[float, float]:
    """The shares of the base distribution below ``minimum`` and ``maximum``. Raises BadInput if nothing is between."""
    ends = torch.tensor([times.minimum, times.maximum], dtype=torch.float64)
    low, high = share_below(times, shifted(ends, 1.0 / shift).clamp(0.0, 1.0)).tolist()
    if not high - low >= LEAST:
        found = f"{times.minimum:g} to {times.maximum:g}"
        expected = f"a range in which {times.distribution} has at least {LEAST:g} of its draws; it has {high - low:.1e}"
        raise BadInput("times.minimum", found, expected)
    return low, high


@functools.cache
def training_alphas(zero_terminal_snr: bool) -> Tensor:
    """ᾱ_t of training, float64 [1000], not to be written to.

    With zero terminal SNR the last is 0, not the small number that samplers put there: x is noise, v is -x0.
    """
    alphas = alphas_cumprod(zero_terminal_snr).clone()
    if zero_terminal_snr:
        alphas[-1] = 0.0
    return alphas


@functools.lru_cache(maxsize=64)
def process(sampling: Sampling, like: str = "a1111") -> Levels:
    """The noise levels of sampling, made once for each ``sampling``."""
    return Levels(sampling, like=like)


def at(t: Tensor, sampling: Sampling) -> Moments:
    """The noise levels at times ``t`` [B], 0 to 1: the nearest timestep below for eps, v, x0; t itself for rf."""
    if sampling.prediction == "rf":
        sigma = t.float()
        return Moments(process(sampling).timestep(sigma), 1.0 - sigma.double(), sigma.double())
    return at_timestep((t.double() * TIMESTEPS).floor().long().clamp(0, TIMESTEPS - 1), sampling)


def at_timestep(timestep: Tensor, sampling: Sampling) -> Moments:
    """The noise levels at whole ``timestep``s int64 [B], 0 to 999; eps, v, x0."""
    alphas = training_alphas(sampling.zero_terminal_snr)[timestep]
    return Moments(timestep.float(), alphas.sqrt(), (1.0 - alphas).sqrt())


def draw(times: Times, sampling: Sampling, draws: Draws, *, place: tuple[int, int] | None = None) -> Moments:
    """The noise levels of the items of a step.

    ``place``: with ``stratified``, (first, total): where these items stand among all items of the step, if it is spread
    over micro-batches or processes. Which part of the distribution a place gets changes from step to step.
    """
    p = draws.uniform("time")[:, 0]
    if times.stratified:
        first, total = place or (0, len(p))
        parts = draws.common("time order", total).argsort()[first : first + len(p)]
        p = (parts + p) / total
    flow = sampling.prediction == "rf"
    low, high = window(times, sampling.shift)
    t = shifted(quantile(times, low + (high - low) * p), sampling.shift).clamp(times.minimum, times.maximum)
    if flow:
        return at(t, sampling)
    first_step = min(round(times.minimum * TIMESTEPS), TIMESTEPS - 1)
    last_step = max(round(times.maximum * TIMESTEPS) - 1, first_step)
    return at_timestep((t * TIMESTEPS).floor().long().clamp(first_step, last_step), sampling)
