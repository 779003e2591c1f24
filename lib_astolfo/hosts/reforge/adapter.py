"""The sampler hook's view of reForge. Line numbers are of its commit 3b56b268."""

from __future__ import annotations

from typing import Any

import torch

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.webui.adapter import Reading
from lib_astolfo.hosts.webui.common import ON_TIMESTEPS, CommonAdapter

from . import samplers, telling

ZERO_TERMINAL = "Zero Terminal SNR"
PLAIN_TOP, ZERO_TERMINAL_TOP = 14.614642, 4518.7637
OWN_STEPS = ("", "Automatic", "automatic")
ADVANCED = "advanced model sampling"


class ReforgeAdapter(CommonAdapter):
    """See ``hosts.webui.adapter.Adapter``."""

    def own_reading(self, p: Any) -> Sampling | None:
        """From the sampling object of the network: the yaml's ``parameterization`` is not all that decides here."""
        from modules import shared

        model = shared.sd_model
        prediction = _prediction(samplers.own_sampling(model.forge_objects_original.unet))
        if prediction is None or getattr(shared.opts, "use_downcasted_alpha_bar", False):
            return None
        top = float(samplers.own_sampling(model.forge_objects_original.unet).sigmas[-1])
        terminal = _near(top, ZERO_TERMINAL_TOP)
        if not (terminal or _near(top, PLAIN_TOP)):
            return None
        # Made so in place for the time of sampling only (modules/processing.py:1072-1083).
        terminal = terminal or shared.opts.sd_noise_schedule == ZERO_TERMINAL or bool(getattr(model, "ztsnr", False))
        return None if terminal and prediction == "eps" else Sampling(prediction, terminal)

    def own_like(self) -> str:
        """``ModelSamplingDiscrete.timestep`` gives whole ones."""
        return "comfy"

    def foreign(self, p: Any) -> str:
        from modules import shared

        if advanced_sampling_on(p):
            return "reForge's Advanced Model Sampling is on, which says itself how the model is read"
        model = shared.sd_model
        if not any(getattr(model, f"is_{name}", False) for name in ("sd1", "sd2", "sdxl")):
            return "the loaded model is none of SD1, SD2 and SDXL"
        config = type(model.forge_objects_original.unet.model.model_config).__name__
        if getattr(model, "cond_stage_key", "") == "edit" or "instructpix2pix" in config.lower():
            return "the loaded model is InstructPix2Pix, which has two unconds"
        return ""

    def stale(self, p: Any) -> bool:
        """Advanced Model Sampling leaves its denoiser or its noise levels on the model after it was turned off."""
        from modules import shared

        model = shared.sd_model
        if hasattr(model, "create_denoiser"):
            return True
        share = float(model.alphas_cumprod[-1])
        top = ((1.0 - share) / share) ** 0.5
        return self.own_reading(p) is not None and not (_near(top, PLAIN_TOP) or _near(top, ZERO_TERMINAL_TOP))

    def no_flow(self, sampler_name: str) -> str:
        from modules import sd_samplers_timesteps

        if any(data.name == sampler_name for data in sd_samplers_timesteps.samplers_data_timesteps):
            return ON_TIMESTEPS
        return samplers.NO_FLOW.get(sampler_name, "")

    def scheduler_of(self, p: Any, *, hires: bool) -> str:
        """The samplers of modules_forge/forge_alter_samplers.py have one default, in hires the first pass's choice."""
        from modules import sd_samplers
        from modules_forge import forge_alter_samplers

        name = (p.hr_sampler_name or p.sampler_name) if hires else p.sampler_name
        config = sd_samplers.find_sampler_config(name)
        altered = config in forge_alter_samplers.samplers_data_alter
        chosen = (p.hr_scheduler if hires and not altered else p.scheduler) or ""
        if chosen not in OWN_STEPS:
            return chosen
        return "Normal" if altered or config is None else str(config.options.get("scheduler") or "")

    def install(self, p: Any, reading: Reading) -> None:
        samplers.install(p, reading)

    def failed(self, p: Any) -> None:
        samplers.put_back_levels()

    def tell(self, error: Exception) -> None:
        telling.tell(error)

    def seen(self, params: Any) -> None:
        """Nothing: reForge's guidance functions get all they need."""

    def sigma(self, params: Any) -> torch.Tensor:
        """Samplers on timesteps are turned into noise levels before the callback (sd_samplers_cfg_denoiser.py:120)."""
        return params.sigma

    def pads(self) -> bool:
        """It computes the padding and forgets it, but SDXL's conditioning, a dict, is padded in place on the way
        (modules/sd_samplers_cfg_denoiser.py:26-38 and 200-218)."""
        from modules import shared

        opts = shared.opts
        sdxl = bool(getattr(shared.sd_model, "is_sdxl", False))
        return sdxl and bool(opts.pad_cond_uncond and not opts.pad_cond_uncond_v0)


def _prediction(own: Any) -> str | None:
    """Of plain discrete diffusion; flow, EDM, cascade and LCM are none of ours."""
    from ldm_patched.modules import model_sampling as theirs

    kinds = type(own).__mro__
    if type(own).__bases__[:1] != (theirs.ModelSamplingDiscrete,):
        return None
    known = {theirs.EPS: "eps", theirs.V_PREDICTION: "v", theirs.X0: "x0", theirs.EDM: None, theirs.IMG_TO_IMG: None}
    return next((known[kind] for kind in kinds if kind in known), None)


def _near(value: float, expected: float) -> bool:
    return abs(value - expected) < 0.01 * expected


def advanced_sampling_on(p: Any) -> bool:
    """Whether one of reForge's two scripts of that name is enabled for this generation: their first argument."""
    found = [] if p.scripts is None else p.scripts.alwayson_scripts
    args = list(p.script_args or ())
    return any(args[one.args_from : one.args_from + 1] == [True] for one in found if _advanced(one))


def _advanced(script: Any) -> bool:
    return str(script.title()).lower().startswith(ADVANCED)
