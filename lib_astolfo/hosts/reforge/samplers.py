"""Our reading in reForge while one of its samplers runs, and everything as it was afterwards.

The network's formulas are in ``model_sampling`` of the diffusion model, the schedule in the sampler's ``model_wrap``
or, for samplers on timesteps, in ``alphas_cumprod`` of the loaded model. Line numbers are of commit 3b56b268.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.guidance import rescale_x0
from lib_astolfo.diffusion.schedule import alphas_cumprod
from lib_astolfo.hosts.webui import starts
from lib_astolfo.hosts.webui.adapter import Reading
from lib_astolfo.hosts.webui.denoisers import SigmaDenoiser

from .model_sampling import ModelSampling

OBJECT = "model_sampling"
MODIFIERS = "conditioning_modifiers"
POST_CFG = "sampler_post_cfg_function"
OTHER_LEVELS = "is written for rf with noise levels from 0 to 1"
NO_FLOW: dict[str, str] = {
    "Euler A Comfy RF": OTHER_LEVELS,
    "DPM++ 2S Ancestral Comfy RF": OTHER_LEVELS,
    "ODE (Dopri5)": "steps over rf's small noise levels",
    "ODE Custom": "steps over rf's small noise levels with its own settings",
    "DPM++ 2S Ancestral CFG++ Intern": "runs away from rf's large noise levels",
}
"""Found by drawing with an exact network: those that are wrong for rf alone, or far worse than for eps."""
LCM_SKIP = 20  # modules/sd_samplers_lcm.py:23-29: LCM has every twentieth of the 1000 levels


def install(p: Any, reading: Reading) -> None:
    """Into ``p.sampler``: whenever it samples, the loaded model is read as ``reading`` says, and only then."""
    from modules import devices, sd_samplers_timesteps
    from modules_forge import forge_alter_samplers

    on_timesteps = isinstance(p.sampler, sd_samplers_timesteps.CompVisSampler)
    if reading.replaces:
        if isinstance(p.sampler, forge_alter_samplers.AlterSampler) and reading.denoiser.levels.flow:
            _schedule_of_altered(p)
        if not on_timesteps:
            starts.first_noise(p, reading)
        elif reading.denoiser.sampling.zero_terminal_snr and reading.like:  # else as reForge draws a marked file
            starts.trailing(p, devices.device)
    for name in ("sample", "sample_img2img"):
        setattr(p.sampler, name, _within(p, getattr(p.sampler, name), reading))


def _schedule_of_altered(p: Any) -> None:
    """These samplers make their schedule over the network's levels: here over those of their ``model_wrap``.

    modules_forge/forge_alter_samplers.py:144-212.
    """
    sampler = p.sampler
    original = sampler.get_sigmas

    def get_sigmas(job: Any, steps: int) -> Tensor:
        sampler.scheduler_name = job.scheduler  # as its ``sample`` does
        model = sampler.unet.model
        ours = model.model_sampling
        if not isinstance(sampler.model_wrap, SigmaDenoiser):
            return original(job, steps)
        model.model_sampling = ModelSampling(sampler.model_wrap.denoiser, ours)
        try:
            return original(job, steps)
        finally:
            model.model_sampling = ours

    sampler.get_sigmas = get_sigmas


def _within(p: Any, original: Callable[..., Tensor], reading: Reading) -> Callable[..., Tensor]:
    guided = p.sampler.model_wrap_cfg

    def run(*args: Any, **kw: Any) -> Tensor:
        with ExitStack() as undo:
            undo.push(_put_back_on_error)
            _enter(p, reading, undo)
            after_refiner = guided.update_inner_model

            def update_inner_model() -> None:
                after_refiner()
                _enter(p, reading.again(), undo)

            guided.update_inner_model = update_inner_model
            undo.callback(setattr, guided, "update_inner_model", after_refiner)
            return original(*args, **kw)

    return run


def _enter(p: Any, reading: Reading, undo: ExitStack) -> None:
    """The model that is loaded now; a refiner that takes over within a pass brings another."""
    if not (reading.replaces or reading.cfg_rescale):
        return
    unet = undo.enter_context(_patched_unet(reading))
    if reading.replaces:
        undo.enter_context(_schedule(p, reading, unet))


@contextmanager
def _patched_unet(reading: Reading) -> Iterator[Any]:
    """A copy of the patcher in use, with our formulas; yields it.

    Not ``clone``: that loses wrappers and injections, and copies callables of other extensions together with what they
    hold (modules_forge/unet_patcher.py:19-35).
    """
    from modules import shared

    objects = shared.sd_model.forge_objects
    before = objects.unet
    unet = copy.copy(before)
    unet.parent = before
    unet.object_patches = dict(before.object_patches)
    unet.model_options = dict(before.model_options)
    own, ours = own_sampling(before), None
    if reading.replaces:
        ours = ModelSampling(_with_host_levels(reading), own).to(unet.load_device)
        unet.object_patches[OBJECT] = ours
        unet.object_patches_backup.setdefault(OBJECT, own)
        unet.model.model_sampling = ours  # loading does it too, but some schedules are made before that
    if reading.cfg_rescale:
        unet.model_options[MODIFIERS] = [*before.model_options.get(MODIFIERS, ()), _rescaling(reading)]
    objects.unet = unet
    try:
        yield unet
    finally:
        unet.object_patches.pop(OBJECT, None)
        if ours is not None and getattr(unet.model, OBJECT, None) is ours:
            unet.model.model_sampling = own
            unet.object_patches_backup.pop(OBJECT, None)
        if objects.unet is unet:
            objects.unet = before


def _with_host_levels(reading: Reading) -> Denoiser:
    """reForge rescales the levels of a file with the key ``ztsnr`` a second time before it samples.

    modules/processing.py:1072-1083; the network is then told another timestep here and there, by 1. Left to the host's
    own way, a picture is the same with the key and without it.
    """
    from ldm_patched.modules.model_sampling import rescale_zero_terminal_snr_sigmas

    denoiser = reading.denoiser
    if reading.like or not denoiser.sampling.zero_terminal_snr:
        return denoiser
    return denoiser.over(denoiser.levels.over(rescale_zero_terminal_snr_sigmas(denoiser.levels.sigmas)))


def own_sampling(patcher: Any) -> Any:
    """The host's own object behind whatever is patched over it (ldm_patched/modules/model_patcher.py:455-475)."""
    kept = patcher.object_patches_backup.get(OBJECT)
    return patcher.model.model_sampling if kept is None else kept


@contextmanager
def _schedule(p: Any, reading: Reading, unet: Any) -> Iterator[None]:
    """The noise levels of the sampler, which it has beside those of the network."""
    from modules import devices, sd_samplers_lcm, sd_samplers_timesteps, shared

    guided = p.sampler.model_wrap_cfg
    if isinstance(p.sampler, sd_samplers_timesteps.CompVisSampler):
        with _alphas(guided, alphas_cumprod(reading.denoiser.sampling.zero_terminal_snr).float()):
            yield
        return
    if isinstance(p.sampler, sd_samplers_lcm.LCMSampler):
        wrap = guided.inner_model
        wrap.sigmas = reading.denoiser.sigmas[LCM_SKIP - 1 :: LCM_SKIP].to(devices.device)
        wrap.log_sigmas = wrap.sigmas.log()
    else:
        wrap = SigmaDenoiser(reading.denoiser, shared.sd_model, devices.device)
    wrap.model_patcher = unet
    guided.model_wrap = wrap
    p.sampler.model_wrap = wrap
    yield


@contextmanager
def _alphas(guided: Any, alphas: Tensor) -> Iterator[None]:
    """Samplers on timesteps, and the CFG denoiser with them, read the loaded model's (sd_samplers_timesteps.py)."""
    from modules import shared

    model = shared.sd_model
    own = model.alphas_cumprod
    alphas = alphas.to(own.device)
    model.alphas_cumprod = alphas
    guided.alphas = alphas
    try:
        yield
    finally:
        model.alphas_cumprod = own


def _rescaling(reading: Reading) -> Callable[..., tuple[Any, ...]]:
    """CFG rescale first among the functions behind the host's guidance.

    Through a conditioning modifier, since CFG++ samplers replace that list in the model options of their calls
    (modules/sd_samplers_cfg_denoiser.py:212-214, 237). Where there is no uncond there is no guidance to rescale.
    """
    row, phi = reading.denoiser.row, reading.cfg_rescale

    def rescaled(args: dict[str, Any]) -> Tensor:
        if args["uncond"] is None:
            return args["denoised"]
        sigma, x = args["sigma"], args["input"]
        return rescale_x0(args["denoised"], args["cond_denoised"], x, sigma, rescale=phi, row=row)

    def modify(*call: Any) -> tuple[Any, ...]:
        """(model, x, sigma, uncond, cond, scale, options, seed), as they are given back."""
        *before, options, seed = call
        return *before, {**options, POST_CFG: [rescaled, *options.get(POST_CFG, ())]}, seed

    return modify


def _put_back_on_error(kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
    if kind is not None:
        put_back_levels()


def put_back_levels() -> None:
    """What reForge does after a sampler only if it did not fail (modules/processing.py:1093-1096).

    It changes the levels of ZTSNR checkpoints in place before it samples.
    """
    from modules import shared

    model = shared.sd_model
    if hasattr(model, "sigmas_original"):
        own_sampling(model.forge_objects.unet).set_sigmas(model.sigmas_original)
    if hasattr(model, "alphas_cumprod_original"):
        model.alphas_cumprod = model.alphas_cumprod_original
