"""The noise that Stable Diffusion was trained with, as tables over its 1000 timesteps.

A1111, ComfyUI and diffusers compute the same tables with different rounding; ``like`` chooses whose: ``exact`` (float64
throughout), ``a1111`` (float32 from the alphas on), ``comfy`` (float64; zero terminal SNR in float32, as its node does)
or ``diffusers`` (float64; zero terminal SNR ends at 2⁻²⁴). They differ by less than 1e-4, the last noise level of
diffusers apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import BadInput
from .spacing import SCHEDULES, Schedule

__all__ = [
    "BETA_END",
    "BETA_START",
    "LIKE",
    "SCHEDULES",
    "TERMINAL_ALPHA",
    "TIMESTEPS",
    "Schedule",
    "alphas_cumprod",
    "betas",
    "flow_sigmas",
    "sigmas",
]

TIMESTEPS = 1000
BETA_START = 0.00085  # Rombach et al. 2022, configs/stable-diffusion/v1-inference.yaml
BETA_END = 0.012
TERMINAL_ALPHA = 4.8973451890853435e-08  # in place of 0: A1111 modules/sd_models.py:628-644, ComfyUI likewise
TERMINAL_ALPHA_DIFFUSERS = 2.0**-24  # EulerDiscreteScheduler with rescale_betas_zero_snr
LIKE: tuple[str, ...] = ("exact", "a1111", "comfy", "diffusers")


def betas() -> Tensor:
    """The scaled linear schedule, float64 [1000] (sgm/modules/diffusionmodules/util.py, make_beta_schedule)."""
    return torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMESTEPS, dtype=torch.float64) ** 2


def alphas_cumprod(zero_terminal_snr: bool = False) -> Tensor:
    """ᾱ_t, the squared share of the picture at timestep t: float64 [1000], falling.

    With ``zero_terminal_snr`` rescaled so that the last timestep is pure noise (Lin et al. 2023, arXiv:2305.08891,
    algorithm 1), with ``TERMINAL_ALPHA`` in place of the zero; to A1111's float32 figures, so that a model is trained
    on the very levels that it is sampled on (float64 differs by 1.1e-5 at timestep 996).
    """
    plain = torch.cumprod(1.0 - betas(), dim=0)
    return _zero_terminal(plain.float(), TERMINAL_ALPHA).double() if zero_terminal_snr else plain


def _zero_terminal(alphas: Tensor, terminal: float) -> Tensor:
    root = alphas.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    rescaled = ((root - last) * (first / (first - last))) ** 2
    rescaled[-1] = terminal
    return rescaled


def sigmas(zero_terminal_snr: bool = False, *, like: str = "exact") -> Tensor:
    """σ_t = √((1-ᾱ_t)/ᾱ_t), noise per unit of picture: float32 [1000], rising from 0.0292 to 14.61 (ZTSNR 4519)."""
    if like not in LIKE:
        raise BadInput("like", repr(like), "one of " + ", ".join(LIKE))
    alphas = alphas_cumprod()
    if like == "a1111":
        alphas = alphas.float()
    if zero_terminal_snr:
        if like == "comfy":
            plain = _ratio(alphas).float()
            alphas = 1.0 / (plain * plain + 1.0)
        alphas = _zero_terminal(alphas, TERMINAL_ALPHA_DIFFUSERS if like == "diffusers" else TERMINAL_ALPHA)
    return _ratio(alphas).float()


def _ratio(alphas: Tensor) -> Tensor:
    return ((1.0 - alphas) / alphas) ** 0.5


def flow_sigmas(shift: float = 1.0) -> Tensor:
    """Rectified flow's share of noise, float32 [1000], rising to 1: t shifted, with t = 1/1000, 2/1000, … 1.

    Esser et al. 2024 (arXiv:2403.03206), equation 23; ComfyUI comfy/model_sampling.py, ModelSamplingDiscreteFlow.
    """
    t = torch.arange(1, TIMESTEPS + 1, dtype=torch.float64) / TIMESTEPS
    return (shift * t / (1.0 + (shift - 1.0) * t)).float()
