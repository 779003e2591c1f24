"""Where a WebUI's sampler begins: its first noise, its first timestep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .adapter import Reading

STEPS = 1000


def first_noise(p: Any, reading: Reading) -> None:
    """ComfyUI and diffusers start diffusion's noisiest level at √(1 + σ²) instead of σ; A1111 with its option too."""
    from modules import shared

    levels = reading.denoiser.levels
    if reading.like not in ("comfy", "diffusers") or levels.flow or shared.opts.sgm_noise_multiplier:
        return
    original = p.sampler.sample

    def sample(job: Any, x: Tensor, *args: Any, **kw: Any) -> Tensor:
        steps = kw.get("steps") or job.steps
        sigma = float(p.sampler.get_sigmas(job, steps)[0])
        whole = abs(sigma - float(levels.sigma_max)) < 1e-4 * sigma
        return original(job, x * ((1.0 + sigma**2) ** 0.5 / sigma) if whole else x, *args, **kw)

    p.sampler.sample = sample


def trailing(p: Any, device: torch.device) -> None:
    """Steps that begin at the last timestep, which is pure noise; the WebUIs' begin before it.

    Lin et al. 2023, arXiv:2305.08891, section 3.3; modules/sd_samplers_timesteps.py, get_timesteps.
    """
    original = p.sampler.get_timesteps

    def get_timesteps(job: Any, steps: int) -> Tensor:
        count = len(original(job, steps))
        if count < 2:
            return original(job, steps)
        places = torch.arange(count, dtype=torch.float64) * (STEPS / (count - 1))
        return (places.round().long() - 1).clamp(1, STEPS - 1).to(device)

    p.sampler.get_timesteps = get_timesteps
    if getattr(p.sampler.func, "__name__", "") == "plms":
        p.sampler.func = _ddim_first(p.sampler.func)


def _ddim_first(plms: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """PLMS whose step away from pure noise is DDIM's.

    Its own first step averages the noise of two timesteps (modules/sd_samplers_timesteps_impl.py, plms), and where
    next to nothing is left of the picture (√ᾱ = 0.0002) what they differ by is multiplied by thousands.
    """

    def sample(model: Any, x: Tensor, timesteps: Tensor, extra_args: Any = None, **kw: Any) -> Tensor:
        if len(timesteps) > 2 and int(timesteps[-1]) == STEPS - 1:
            last, after = (float(share) for share in model.inner_model.inner_model.alphas_cumprod[timesteps[[-1, -2]]])
            noise = model(x, x.new_full((len(x),), STEPS - 1), **(extra_args or {}))
            x0 = (x - (1.0 - last) ** 0.5 * noise) / last**0.5
            x, timesteps = after**0.5 * x0 + (1.0 - after) ** 0.5 * noise, timesteps[:-1]
        return plms(model, x, timesteps, extra_args=extra_args, **kw)

    return sample
