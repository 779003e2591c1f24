"""What is to be said of a schedule on noise levels that reach far above those of plain diffusion."""

from __future__ import annotations

from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.schedule import SCHEDULES

PLAIN_MAX = 14.7  # above the noisiest level of plain SD, 14.61: there is next to nothing of the picture left
BETTER = "SGM Uniform or Simple"


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
        return ""
    return f"the schedule spends {wasted} of {steps} steps above sigma 14.6, where there is only noise; use {BETTER}"


def above(sigmas: Tensor) -> int:
    """How many steps start above plain diffusion's noisiest level."""
    return int((sigmas[:-1] > PLAIN_MAX).sum())
