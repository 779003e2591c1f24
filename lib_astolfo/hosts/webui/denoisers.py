"""Our denoiser in the form in which a WebUI's sampler holds its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.prediction import row_of
from lib_astolfo.diffusion.sampling import Sampling


class SigmaDenoiser(torch.nn.Module):
    """For samplers on noise levels: stands where k_diffusion.external.CompVisDenoiser does.

    ``inner_model``: the WebUI's model, which other parts of the WebUI look for here.
    """

    def __init__(self, denoiser: Denoiser, inner_model: Any, device: torch.device) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.inner_model = inner_model
        self.sigmas = denoiser.sigmas.to(device)
        self.log_sigmas = denoiser.log_sigmas.to(device)
        self.quantize = denoiser.levels.integer
        self.sigma_data = denoiser.sigma_data

    @property
    def sigma_min(self) -> Tensor:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        return self.sigmas[-1]

    def forward(self, x: Tensor, sigma: Tensor, **kw: Any) -> Tensor:
        """x0 [B, ...] float32 at ``x`` and ``sigma`` [B]; ``kw`` goes to the network."""
        return self.denoiser(x, sigma, **kw)

    def sigma_to_t(self, sigma: Tensor, quantize: bool | None = None) -> Tensor:
        """Place in the table; see ``Denoiser``."""
        return self.denoiser.sigma_to_t(sigma, quantize)

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """The opposite."""
        return self.denoiser.t_to_sigma(t)

    def get_sigmas(self, n: int | None = None) -> Tensor:
        """The schedule of samplers that have none of their own, n + 1 values."""
        return self.denoiser.get_sigmas(n).to(self.sigmas.device)


class TimestepDenoiser(torch.nn.Module):
    """For samplers on whole timesteps (DDIM, PLMS, UniPC): the noise that any prediction of diffusion says.

    ``network(x, timesteps, **kw)``: the raw output. ``alphas_cumprod``: float32 [1000].
    """

    def __init__(
        self, network: Callable[..., Tensor], sampling: Sampling, alphas_cumprod: Tensor, inner_model: Any
    ) -> None:
        super().__init__()
        self.network = network
        self.sampling = sampling
        self.row = row_of(sampling)
        self.alphas_cumprod = alphas_cumprod
        self.inner_model = inner_model

    def path(self, timesteps: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) of timesteps [B], to be multiplied with x [B, ...]."""
        shape = (-1,) + (1,) * (x.ndim - 1)
        alphas = self.alphas_cumprod.to(x.device)[timesteps.long()].reshape(shape)
        return alphas.sqrt(), (1.0 - alphas).sqrt()

    def forward(self, x: Tensor, timesteps: Tensor, **kw: Any) -> Tensor:
        """Noise [B, ...] at ``x`` = alpha x0 + sigma noise."""
        alpha, sigma = self.path(timesteps, x)
        raw = self.network(x, timesteps, **kw)
        return self.row.x0_noise(raw, x, alpha, sigma, weight=self.sampling.mixed_weight)[1]
