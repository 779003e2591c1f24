"""Our reading in A1111's sampler objects: their denoiser, their guidance, nothing else.

A sampler is made for one pass and dropped after it (modules/processing.py:1308), so nothing is to be undone but the
one attribute of the model that samplers on timesteps read from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.diffusion.guidance import cfg_rescale, rescale_x0
from lib_astolfo.diffusion.prediction import convert
from lib_astolfo.diffusion.schedule import alphas_cumprod
from lib_astolfo.hosts.webui import starts
from lib_astolfo.hosts.webui.adapter import Reading
from lib_astolfo.hosts.webui.denoisers import SigmaDenoiser, TimestepDenoiser

STEP = "astolfo_step"
"""Attribute of a sampler's CFG denoiser: x and sigma (or timestep) of this step, for CFG rescale."""


def apply_model(x: Tensor, timestep: Tensor, **kw: Any) -> Tensor:
    """The raw network of the model that is loaded now: a refiner may take over within a pass."""
    from modules import shared

    return shared.sd_model.apply_model(x, timestep, **kw)


def install_sigmas(p: Any, reading: Reading) -> None:
    """Samplers on noise levels (modules/sd_samplers_kdiffusion.py)."""
    guided = p.sampler.model_wrap_cfg
    _again_after_refiner(p, reading, _sigma_denoiser)
    if reading.replaces:
        _use(p, _sigma_denoiser(reading))
        starts.first_noise(p, reading)
    if reading.cfg_rescale:
        row, phi = reading.denoiser.row, reading.cfg_rescale

        def rescaled(combined: Tensor, cond: Tensor) -> Tensor:
            x, sigma = getattr(guided, STEP)
            return rescale_x0(combined, cond, x, sigma, rescale=phi, row=row)

        _after_guidance(guided, rescaled)


def _sigma_denoiser(reading: Reading) -> SigmaDenoiser:
    from modules import devices, shared

    reading.denoiser.inner_model = apply_model
    return SigmaDenoiser(reading.denoiser, shared.sd_model, devices.device)


def install_timesteps(p: Any, reading: Reading) -> None:
    """DDIM, DDIM CFG++, PLMS, UniPC (modules/sd_samplers_timesteps.py)."""
    from modules import devices

    guided, sampling = p.sampler.model_wrap_cfg, reading.denoiser.sampling
    alphas = guided.alphas
    if reading.replaces:
        alphas = alphas_cumprod(sampling.zero_terminal_snr).float().to(guided.alphas.device)
    _again_after_refiner(p, reading, lambda now: _timestep_denoiser(now, alphas))
    if reading.replaces:
        _use(p, _timestep_denoiser(reading, alphas))
        guided.alphas = alphas
        _with_alphas(p, alphas)
        if sampling.zero_terminal_snr:
            starts.trailing(p, devices.device)
    if reading.cfg_rescale:
        _after_guidance(guided, _noise_rescale(guided, alphas, reading.cfg_rescale))


def _timestep_denoiser(reading: Reading, alphas: Tensor) -> TimestepDenoiser:
    from modules import shared

    return TimestepDenoiser(apply_model, reading.denoiser.sampling, alphas, shared.sd_model)


def _use(p: Any, denoiser: torch.nn.Module) -> None:
    p.sampler.model_wrap_cfg.model_wrap = denoiser
    p.sampler.model_wrap = denoiser


def _again_after_refiner(p: Any, reading: Reading, make: Callable[[Reading], torch.nn.Module]) -> None:
    """The refiner's switch drops the denoiser (modules/sd_samplers_cfg_denoiser.py:93-98); the noise levels go on."""
    guided = p.sampler.model_wrap_cfg
    original = guided.update_inner_model

    def update_inner_model() -> None:
        original()
        now = reading.again()
        if now.replaces:
            _use(p, make(now))

    guided.update_inner_model = update_inner_model


def _after_guidance(guided: Any, change: Callable[[Tensor, Tensor], Tensor]) -> None:
    """``change(guided, cond)`` behind the host's own combination of cond and uncond."""
    original = guided.combine_denoised

    def combine_denoised(x_out: Tensor, conds_list: Any, uncond: Any, cond_scale: float) -> Tensor:
        combined = original(x_out, conds_list, uncond, cond_scale)
        return change(combined, _mean_cond(x_out, conds_list, combined))

    guided.combine_denoised = combine_denoised


def _mean_cond(x_out: Tensor, conds_list: Any, like: Tensor) -> Tensor:
    """The conds of each picture, by their AND weights [B, ...]."""
    means = []
    for place, conds in enumerate(conds_list):
        total = sum(weight for _, weight in conds)
        if total == 0:
            means.append(like[place])
            continue
        if len(conds) == 1:
            means.append(x_out[conds[0][0]])
            continue
        means.append(sum(x_out[index] * (weight / total) for index, weight in conds))
    return torch.stack(means)


def _noise_rescale(guided: Any, alphas: Tensor, phi: float) -> Callable[[Tensor, Tensor], Tensor]:
    """CFG rescale for samplers that ask for noise: on v, as everywhere."""

    def rescaled(combined: Tensor, cond: Tensor) -> Tensor:
        x, timestep = getattr(guided, STEP)
        share = alphas.to(x.device)[timestep.long()].reshape((-1,) + (1,) * (x.ndim - 1))
        path = (share.sqrt(), (1.0 - share).sqrt())
        guided_v, cond_v = (convert(noise, x, *path, have="eps", want="v") for noise in (combined, cond))
        return convert(cfg_rescale(guided_v, cond_v, phi), x, *path, have="v", want="eps")

    return rescaled


def _with_alphas(p: Any, alphas: Tensor) -> None:
    """Samplers on timesteps read the schedule from the model itself: it has ours while they run, and not longer."""
    for name in ("sample", "sample_img2img"):
        setattr(p.sampler, name, _within(getattr(p.sampler, name), alphas))


def _within(original: Callable[..., Tensor], alphas: Tensor) -> Callable[..., Tensor]:
    def run(*args: Any, **kw: Any) -> Tensor:
        from modules import shared

        model = shared.sd_model
        own = model.alphas_cumprod
        model.alphas_cumprod = alphas.to(own.device)
        try:
            return original(*args, **kw)
        finally:
            model.alphas_cumprod = own

    return run
