"""Our reading of a network as the object that reForge asks for it: ``model_sampling`` of its diffusion model.

What is asked of it and where: ldm_patched/modules/model_base.py:160-192 (apply_model), ldm_patched/modules/samplers.py
(schedules), ldm_patched/k_diffusion/sampling.py:437-462 (log SNR), ldm_patched/modules/controlnet.py:270.
Line numbers are of reForge's commit 3b56b268.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.prediction import Scalings

STEPS = 1000
HALF = (torch.float16, torch.bfloat16)


class ModelSampling(torch.nn.Module):
    """``denoiser``'s formulas. All noise levels are in variance-exploding coordinates, rectified flow's too.

    So it is none of reForge's CONST: its samplers take the branch of diffusion, which is the right one.
    ``own``: the host's object, which stays what it is; levels that somebody sets here are meant for it.
    """

    sigmas: Tensor
    log_sigmas: Tensor

    def __init__(self, denoiser: Denoiser, own: Any) -> None:
        super().__init__()
        self.denoiser = denoiser
        object.__setattr__(self, "own", own)  # not as a part of this module: it would be moved and listed with it
        self.sigma_data = denoiser.sigma_data
        self.num_timesteps = STEPS
        self.zsnr = denoiser.sampling.zero_terminal_snr
        self.register_buffer("sigmas", denoiser.sigmas.clone())
        self.register_buffer("log_sigmas", denoiser.log_sigmas.clone())

    @property
    def sigma_min(self) -> Tensor:
        """The lowest noise level, a tensor of no dimensions."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The highest noise level, a tensor of no dimensions."""
        return self.sigmas[-1]

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """What the network gets for ``noise`` = x [B, ...] at ``sigma`` [B]."""
        return noise * self._scalings(sigma, noise).c_in

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """x0 [B, ...] from the raw output and x, both [B, ...], at ``sigma`` [B]."""
        scalings = self._scalings(sigma, model_input)
        return model_input * scalings.c_skip + model_output * scalings.c_out

    def _scalings(self, sigma: Tensor, x: Tensor) -> Scalings:
        sigma = sigma.float() if sigma.dtype in HALF else sigma
        shaped = sigma.reshape((-1,) + (1,) * (x.ndim - 1))
        return self.denoiser.row.scalings(shaped, weight=self.denoiser.sampling.mixed_weight)

    def timestep(self, sigma: Tensor) -> Tensor:
        """What the network is told at ``sigma``, float32: 0 to 999; for rf 1000 σ/(1+σ), whatever the shift."""
        return self.denoiser.timestep(sigma)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The noise level of a timestep, as schedules are made: for rf with the shift (ModelSamplingDiscreteFlow)."""
        return self.denoiser.from_level(self.denoiser.levels.from_timestep(timestep))

    def percent_to_sigma(self, percent: float) -> float:
        """The noise level at a share of the schedule, 0 (above all levels) to 1 (below all)."""
        return self.denoiser.percent_to_sigma(percent)

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Where sampling starts from a picture, both [B, ...], at ``sigma`` of one value or [B]."""
        shaped = sigma.reshape((-1,) + (1,) * (noise.ndim - 1))
        return self.denoiser.add_noise(latent_image, noise, shaped, max_denoise=max_denoise)

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """The picture where sampling ends: in these coordinates the latent itself."""
        return latent

    def set_sigmas(self, sigmas: Tensor) -> None:
        """The host's own levels (modules/processing.py:1083, 1094)."""
        self.own.set_sigmas(sigmas)
