"""The samplers, under A1111's names: k-diffusion's own functions, and a few steps around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput
from .denoiser import Denoiser
from .kdiffusion import sampling_module
from .noise import PictureNoise
from .own_samplers import sample_euler_cfgpp, sample_restart
from .sampling import Sampling
from .schedule import SCHEDULES
from .spacing import MAX_STEPS

Callback = Callable[[dict[str, object]], None]
Prepared = tuple[Callable[..., Tensor], dict[str, Any]]
OWN: dict[str, Callable[..., Tensor]] = {"sample_euler_cfgpp": sample_euler_cfgpp, "sample_restart": sample_restart}


@dataclass(frozen=True)
class Sampler:
    """A registered sampler.

    ``function``: its name in ``k_diffusion.sampling``, or in ``OWN``. ``schedule``: the one A1111 gives it.
    ``calls``: network calls a step, but for the last one. ``noise``: ``""`` (none), ``ancestral`` or ``brownian``.
    ``discard``: one step more is asked for, and the lowest level left out (A1111's discard_next_to_last_sigma).
    """

    name: str
    function: str
    schedule: str = "normal"
    calls: int = 1
    noise: str = ""
    discard: bool = False
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def second_order(self) -> bool:
        """Whether a step calls the network twice."""
        return self.calls > 1

    @property
    def stochastic(self) -> bool:
        """Whether it adds noise on the way."""
        return bool(self.noise)

    def default_schedule(self, sampling: Sampling) -> str:
        """The schedule for this kind of model: SGM uniform where the highest noise level is pure noise."""
        if sampling.zero_terminal_snr or sampling.prediction == "rf":
            return "sgm_uniform"
        return self.schedule

    def sigmas(self, denoiser: Denoiser, steps: int, schedule: str = "", **options: float | str) -> Tensor:
        """``steps`` + 1 noise levels of the schedule, or of the default one. Raises BadInput for unknown names.

        ``options``: the schedule's own, as ``family`` of align_your_steps.
        """
        name = schedule or self.default_schedule(denoiser.sampling)
        if name not in SCHEDULES:
            raise BadInput("schedule", repr(name), "one of " + ", ".join(SCHEDULES))
        if self.discard and steps == MAX_STEPS:
            raise BadInput(
                "steps", steps, f"at most {MAX_STEPS - 1} with {self.name}, which makes one more and drops it"
            )
        levels = SCHEDULES[name](denoiser, steps + int(self.discard), **options)
        return torch.cat([levels[:-2], levels[-1:]]) if self.discard else levels

    def sample(
        self,
        model: Callable[..., Tensor],
        x: Tensor,
        sigmas: Tensor,
        *,
        noise: PictureNoise | None = None,
        extra_args: Mapping[str, object] | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """The picture's latent [B, ...], from ``x`` [B, ...] with noise of ``sigmas[0]``.

        ``model``: a ``Denoiser`` or ``GuidedDenoiser``; ``extra_args`` goes to it. ``callback`` gets k-diffusion's dict
        (x, i, sigma, sigma_hat, denoised) at every step and may raise to end the work. ``noise``: for samplers that
        add some on the way, from which ``x`` was drawn. Raises BadInput if such a sampler gets none.
        """
        function, options = self._prepare(x, sigmas, noise)
        sigmas = sigmas.to(x.device)
        return function(model, x, sigmas, extra_args=dict(extra_args or {}), callback=callback, disable=True, **options)

    def _prepare(self, x: Tensor, sigmas: Tensor, noise: PictureNoise | None) -> Prepared:
        """The function to call and its own options."""
        if self.function in OWN:
            function = OWN[self.function]
        elif len(sigmas) == 2 and float(sigmas[1]) == 0.0:
            return sampling_module().sample_euler, {}  # one step to 0 is D for all; k-diffusion's SDE samplers fail
        else:
            function = getattr(sampling_module(), self.function)
        options = dict(self.options)
        if self.noise and noise is None:
            raise BadInput("noise", "none", f"a PictureNoise: {self.name} adds noise on the way")
        if noise is not None and self.noise == "ancestral":
            options["noise_sampler"] = noise.ancestral(x)
        elif noise is not None and self.noise == "brownian":
            options["noise_sampler"] = noise.brownian(x, sigmas)
        return function, options


SAMPLERS: dict[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        Sampler("Euler", "sample_euler"),
        Sampler("Euler a", "sample_euler_ancestral", noise="ancestral"),
        Sampler("Heun", "sample_heun", calls=2),
        Sampler("LMS", "sample_lms"),
        Sampler("DPM2", "sample_dpm_2", "karras", calls=2, discard=True),
        Sampler("DPM2 a", "sample_dpm_2_ancestral", "karras", calls=2, noise="ancestral", discard=True),
        Sampler("DPM++ 2S a", "sample_dpmpp_2s_ancestral", "karras", calls=2, noise="ancestral"),
        Sampler("DPM++ 2M", "sample_dpmpp_2m", "karras"),
        Sampler("DPM++ SDE", "sample_dpmpp_sde", "karras", calls=2, noise="brownian"),
        Sampler("DPM++ 2M SDE", "sample_dpmpp_2m_sde", "exponential", noise="brownian"),
        Sampler(
            "DPM++ 2M SDE Heun", "sample_dpmpp_2m_sde", "exponential", noise="brownian", options={"solver_type": "heun"}
        ),
        Sampler("DPM++ 3M SDE", "sample_dpmpp_3m_sde", "exponential", noise="brownian"),
        Sampler("Restart", "sample_restart", "karras", calls=2, noise="ancestral"),
        Sampler("Euler CFG++", "sample_euler_cfgpp"),
    )
}


def img2img_sigmas(sigmas: Tensor, strength: float) -> Tensor:
    """The end of a schedule that img2img and hires fix walk at denoising ``strength`` 0 to 1.

    A1111 modules/sd_samplers_common.py setup_img2img_steps, modules/sd_samplers_kdiffusion.py:134-143.
    """
    if not 0.0 <= strength <= 1.0:
        raise BadInput("denoising strength", strength, "a number from 0 to 1")
    steps = len(sigmas) - 1
    return sigmas[steps - int(min(strength, 0.999) * steps) - 1 :]
