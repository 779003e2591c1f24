"""Samplers that k-diffusion lacks, with its keywords.

The ``_rf`` ones are rectified flow's ancestral steps in its own coordinates (σ from 0 to 1), for the same figures as
ComfyUI; in variance-exploding coordinates k-diffusion's own samplers are right as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput
from .guidance import cfgpp_step

Callback = Callable[[dict[str, Any]], None]
NoiseSampler = Callable[[Tensor, Tensor], Tensor]
FIRST_FLOW_SIGMA = 0.9999  # in place of 1, where log-SNR is infinite


def _report(callback: Callback | None, i: int, x: Tensor, sigma: Tensor, denoised: Tensor) -> None:
    if callback is not None:
        callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})


def _toward(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor | float) -> Tensor:
    """The first-order step, exact for a constant x0 in both coordinates."""
    share = sigma_next / sigma
    return share * x + (1.0 - share) * denoised


@torch.no_grad()
def sample_euler_cfgpp(
    model: Any, x: Tensor, sigmas: Tensor, *, extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None, disable: bool | None = None,
) -> Tensor:  # fmt: skip
    """Euler with CFG++ (Chung et al. 2024, arXiv:2406.08070). ``model``: a GuidedDenoiser with a scale from 0 to 1.

    Raises BadInput above 2: these scales are not those of CFG (A1111 divides its CFG scale by 12.5 here).
    """
    if not 0.0 <= model.guidance.scale <= 2.0:
        raise BadInput("CFG scale", model.guidance.scale, "a number from 0 to 1 with CFG++ samplers (2 at most)")
    native = bool(model.denoiser.levels.flow and model.denoiser.native)
    for i in range(len(sigmas) - 1):
        sigma = sigmas[i]
        guided, uncond = model.pair(x, sigma.expand(len(x)), **(extra_args or {}))
        _report(callback, i, x, sigma, guided)
        x = cfgpp_step(x, guided, uncond, sigma, sigmas[i + 1], native=native)
    return x


def _flow_ancestral(sigma: Tensor, sigma_next: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
    """(σ to go down to, factor on x, factor on noise): ComfyUI comfy/k_diffusion/sampling.py, *_RF samplers."""
    down = sigma_next * (1.0 + (sigma_next / sigma - 1.0) * eta)
    keep = (1.0 - sigma_next) / (1.0 - down)
    return down, keep, (sigma_next**2 - (down * keep) ** 2).clamp(min=0).sqrt()


@torch.no_grad()
def sample_euler_ancestral_rf(
    model: Any, x: Tensor, sigmas: Tensor, *, extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None, disable: bool | None = None,
    eta: float = 1.0, noise_sampler: NoiseSampler,
) -> Tensor:  # fmt: skip
    """Euler a for rectified flow in its own coordinates."""
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = model(x, sigma.expand(len(x)), **(extra_args or {}))
        _report(callback, i, x, sigma, denoised)
        down, keep, spread = _flow_ancestral(sigma, sigma_next, eta)
        x = _toward(x, denoised, sigma, down)
        if sigma_next > 0:
            x = keep * x + spread * noise_sampler(sigma, sigma_next)
    return x


@torch.no_grad()
def sample_dpmpp_2s_ancestral_rf(
    model: Any, x: Tensor, sigmas: Tensor, *, extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None, disable: bool | None = None,
    eta: float = 1.0, noise_sampler: NoiseSampler,
) -> Tensor:  # fmt: skip
    """DPM-Solver++(2S) a for rectified flow in its own coordinates: the middle is that of log-SNR."""
    args = extra_args or {}
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = model(x, sigma.expand(len(x)), **args)
        _report(callback, i, x, sigma, denoised)
        down, keep, spread = _flow_ancestral(sigma, sigma_next, eta)
        if sigma_next > 0:
            middle = torch.full_like(sigma, FIRST_FLOW_SIGMA) if sigma >= 1 else _middle(sigma, down)
            denoised = model(_toward(x, denoised, sigma, middle), middle.expand(len(x)), **args)
        x = _toward(x, denoised, sigma, down)
        if sigma_next > 0:
            x = keep * x + spread * noise_sampler(sigma, sigma_next)
    return x


def _middle(sigma: Tensor, down: Tensor) -> Tensor:
    """The σ half way in log((1-σ)/σ)."""
    return torch.sigmoid((torch.logit(sigma) + torch.logit(down)) / 2.0)


@torch.no_grad()
def sample_restart(
    model: Any, x: Tensor, sigmas: Tensor, *, extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None, disable: bool | None = None,
    low: float = 0.1, high: float = 2.0, steps: int = 0, times: int = 1, noise_sampler: NoiseSampler,
) -> Tensor:  # fmt: skip
    """Heun, which ``times`` times goes back from level ``low`` to ``high`` by new noise and down again in ``steps``.

    Xu et al. 2023, arXiv:2306.14878, algorithm 1. Both levels are moved to the nearest of ``sigmas``; 0 ``steps`` are
    a quarter of theirs.
    """
    steps = steps or max(2, len(sigmas) // 4)
    positive = sigmas[sigmas > 0]
    bottom = int((positive.log() - math.log(low)).abs().argmin())
    top = positive[int((positive.log() - math.log(high)).abs().argmin())]
    count = 0
    for i in range(len(sigmas) - 1):
        x = _heun(model, x, sigmas[i], sigmas[i + 1], extra_args=extra_args or {}, i=count, callback=callback)
        count += 1
        if i + 1 != bottom or top <= sigmas[i + 1]:
            continue
        again = torch.linspace(float(top) ** (1 / 7), float(positive[bottom]) ** (1 / 7), steps + 1) ** 7
        again = again.to(sigmas)
        for _ in range(times):
            x = x + noise_sampler(positive[bottom], top) * (top**2 - positive[bottom] ** 2).sqrt()
            for k in range(steps):
                x = _heun(model, x, again[k], again[k + 1], extra_args=extra_args or {}, i=count, callback=callback)
                count += 1
    return x


def _heun(
    model: Any, x: Tensor, sigma: Tensor, sigma_next: Tensor, *, extra_args: dict[str, Any], i: int,
    callback: Callback | None,
) -> Tensor:  # fmt: skip
    """One step of Karras et al. 2022, algorithm 1; Euler's to level 0."""
    denoised = model(x, sigma.expand(len(x)), **extra_args)
    _report(callback, i, x, sigma, denoised)
    slope = (x - denoised) / sigma
    step = x + slope * (sigma_next - sigma)
    if sigma_next <= 0:
        return step
    slope_next = (step - model(step, sigma_next.expand(len(x)), **extra_args)) / sigma_next
    return x + (slope + slope_next) / 2.0 * (sigma_next - sigma)
