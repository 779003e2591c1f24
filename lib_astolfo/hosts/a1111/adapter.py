"""The sampler hook's view of A1111 1.10.1. Line numbers are of its commit 82a973c0."""

from __future__ import annotations

from typing import Any

import torch

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.webui.adapter import Reading
from lib_astolfo.hosts.webui.common import ON_TIMESTEPS, CommonAdapter

from . import samplers

ZERO_TERMINAL = "Zero Terminal SNR"
OWN_STEPS = "Automatic"


class A1111Adapter(CommonAdapter):
    """See ``hosts.webui.adapter.Adapter``."""

    def own_reading(self, p: Any) -> Sampling | None:
        """``parameterization`` from the yaml, the schedule from an option; LCM reads everything as eps."""
        from modules import shared

        if hasattr(shared.sd_model, "create_denoiser"):
            return None
        prediction = "v" if shared.sd_model.parameterization == "v" and not _distilled(p) else "eps"
        terminal = shared.opts.sd_noise_schedule == ZERO_TERMINAL
        if getattr(shared.opts, "use_downcasted_alpha_bar", False) or (terminal and prediction == "eps"):
            return None
        return Sampling(prediction, terminal)

    def own_like(self) -> str:
        from modules import shared

        return "comfy" if shared.opts.enable_quantization else "a1111"

    def foreign(self, p: Any) -> str:
        from modules import shared

        model = shared.sd_model
        if getattr(model, "is_sd3", False):
            return "the loaded model is SD3, which has its own sampling"
        if getattr(model, "cond_stage_key", "") == "edit":
            return "the loaded model is InstructPix2Pix, which has two unconds"
        return ""

    def stale(self, p: Any) -> bool:
        """SD3's own hook aside, some extension has put its denoiser on the model."""
        from modules import shared

        return hasattr(shared.sd_model, "create_denoiser")

    def no_flow(self, sampler_name: str) -> str:
        from modules import sd_samplers_timesteps

        found = any(data.name == sampler_name for data in sd_samplers_timesteps.samplers_data_timesteps)
        return ON_TIMESTEPS if found else ""

    def scheduler_of(self, p: Any, *, hires: bool) -> str:
        from modules import sd_samplers

        name = (p.hr_sampler_name or p.sampler_name) if hires else p.sampler_name
        chosen = (p.hr_scheduler if hires else p.scheduler) or OWN_STEPS
        config = sd_samplers.find_sampler_config(name)
        return str(config.options.get("scheduler") or "") if chosen == OWN_STEPS and config else chosen

    def install(self, p: Any, reading: Reading) -> None:
        from modules import sd_samplers_timesteps

        if isinstance(p.sampler, sd_samplers_timesteps.CompVisSampler):
            samplers.install_timesteps(p, reading)
        else:
            samplers.install_sigmas(p, reading)

    def failed(self, p: Any) -> None:
        """Nothing: what is ours here goes with the sampler."""

    def tell(self, error: Exception) -> None:
        """Nothing: the page shows what is raised (modules/call_queue.py:74-92)."""

    def seen(self, params: Any) -> None:
        """Cond and uncond stand behind each other here; the last rows are the pictures, each once."""
        count = params.text_uncond.shape[0]
        object.__setattr__(params.denoiser, samplers.STEP, (params.x[-count:], params.sigma[-count:]))

    def sigma(self, params: Any) -> torch.Tensor:
        """DDIM's callbacks get timesteps (modules/sd_samplers_timesteps.py)."""
        alphas = getattr(params.denoiser, "alphas", None)
        if alphas is None:
            return params.sigma
        share = alphas[params.sigma.long().clamp(0, len(alphas) - 1)]
        return ((1.0 - share) / share) ** 0.5

    def pads(self) -> bool:
        from modules import shared

        return bool(shared.opts.pad_cond_uncond and not shared.opts.pad_cond_uncond_v0)


def _distilled(p: Any) -> bool:
    """LCM has a denoiser of its own, always eps (modules/sd_samplers_lcm.py:83-90)."""
    from modules import sd_samplers_lcm

    return isinstance(getattr(p, "sampler", None), sd_samplers_lcm.LCMSampler)
