"""Schedules on noise levels that reach far above those of plain diffusion: how they are made, what is to be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.schedule import SCHEDULES

from .denoisers import SigmaDenoiser

PLAIN_MAX = 14.7  # above the noisiest level of plain SD, 14.61: there is next to nothing of the picture left
ROUNDING = 1e-4
JUMP = 9.0  # between neighbours; SGM Uniform and Simple have 3 at most, Uniform more than 20
BETTER = "SGM Uniform or Simple"


def over_own_levels(sampler: Any, denoiser: Denoiser, make: Callable[[], Tensor]) -> Tensor:
    """What ``make`` gives, ``sampler.get_sigmas``; for flow made over its own levels, 0 to 1, as ComfyUI makes it.

    In exploding coordinates, up to 9999, Karras and Beta in sigma would leave the picture a few steps or one. What is
    above 1 or does not fall was not made for such levels (Align Your Steps, Laplace, a limit in the settings): left.
    """
    ours = getattr(sampler, "model_wrap", None)
    if denoiser.native or not isinstance(ours, SigmaDenoiser):
        return make()
    native = Denoiser(denoiser.inner_model, denoiser.sampling, native=True)
    sampler.model_wrap = SigmaDenoiser(native, ours.inner_model, ours.sigmas.device)
    try:
        levels = make()
    finally:
        sampler.model_wrap = ours
    made_over = float(levels.max()) <= 1.0 + ROUNDING and bool((levels[1:] < levels[:-1]).all())
    return denoiser.from_level(levels) if made_over else make()


def advice(sigmas: Tensor, denoiser: Denoiser) -> str:
    """One sentence where ``sigmas`` [n + 1] fall short of the model's noisiest level or waste steps near it, else "".

    Karras, Exponential and Beta in sigma spend 19, 13 and 27 of 28 steps above 14.6 with zero terminal SNR; Align Your
    Steps ends there (A1111 modules/sd_schedulers.py).
    """
    top, steps = float(denoiser.sigma_max), len(sigmas) - 1
    if top <= PLAIN_MAX or steps < 2:
        return ""
    if float(sigmas[0]) < 0.5 * top and float(sigmas[0]) <= PLAIN_MAX:
        return (
            f"the schedule starts at sigma {float(sigmas[0]):.4g}, the model at {top:.4g}: "
            f"very dark and bright pictures are lost; use {BETTER}"
        )
    wasted = above(sigmas)
    if wasted <= 2 * above(SCHEDULES["sgm_uniform"](denoiser, steps)) + 1:
        return _jump(sigmas) if denoiser.levels.flow else ""
    return f"the schedule spends {wasted} of {steps} steps above sigma 14.6, where there is only noise; use {BETTER}"


def _jump(sigmas: Tensor) -> str:
    """Flow's lowest level is far below the next ones: with Uniform or Normal, DPM++ 2M then ends 10 % too wide."""
    small = sigmas[(sigmas > 0.0) & (sigmas < 1.0)]
    ratios = small[:-1] / small[1:]
    if not len(ratios) or float(ratios.max()) <= JUMP:
        return ""
    high, low = (float(each) for each in small[int(ratios.argmax()) :][:2])
    return (
        f"the schedule falls from sigma {high:.2g} to {low:.2g} in one step, which samplers of second order do not "
        f"follow; use {BETTER}"
    )


def above(sigmas: Tensor) -> int:
    """How many steps start above plain diffusion's noisiest level."""
    return int((sigmas[:-1] > PLAIN_MAX).sum())
