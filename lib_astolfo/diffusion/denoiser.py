"""The k-diffusion denoiser of a network, for every prediction type.

Importing this module makes ``k_diffusion.sampling`` importable (see ``kdiffusion``).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import BadInput
from .kdiffusion import sampling_module
from .levels import BEYOND, Levels
from .prediction import row_of
from .sampling import Sampling
from .schedule import LIKE, SCHEDULES

sampling_module()

Network = Callable[..., Tensor]
FLOW_SIGMA_MAX = 9999.0  # σ_rf = 0.9999 in place of 1, which is infinite; higher if a large shift needs it


class Denoiser:
    """D(x, σ): the picture that ``network`` sees in x = x0 + σ n, as k-diffusion's samplers ask for it.

    ``network(x_in, timestep, **kw)`` gives the raw output [B, ...] for x_in [B, ...] and timesteps float32 [B].
    Sigma is in variance-exploding coordinates for every prediction; for rf σ = σ_rf / (1 - σ_rf), x = z / (1 - σ_rf).

    ``like``: whose rounding and timesteps (``schedule.LIKE``): ``a1111`` has fractional timesteps, ``comfy`` and
    ``diffusers`` whole ones. ``native``: rf in its own coordinates, σ from 0 to 1 and x = (1 - σ) x0 + σ n, as ComfyUI
    does it; samplers that add noise are wrong there unless they know of it (``own_samplers``).

    ``sigmas``, ``log_sigmas``: float32 [1000], rising. ``levels``: the same in the process's own coordinates.
    """

    def __init__(self, network: Network, sampling: Sampling, *, like: str = "a1111", native: bool = False) -> None:
        if like not in LIKE:
            raise BadInput("like", repr(like), "one of " + ", ".join(LIKE))
        self.inner_model = network
        self.sampling = sampling
        self.levels = Levels(sampling, like=like)
        self.native = native or not self.levels.flow
        self.row = row_of(sampling, native=native)
        self.sigma_data = 1.0
        self.sigmas = self.from_level(self.levels.sigmas)
        self.log_sigmas = self.sigmas.log()

    def over(self, levels: Levels) -> Denoiser:
        """The same with other noise levels."""
        made = copy.copy(self)
        made.levels = levels
        made.sigmas = made.from_level(levels.sigmas)
        made.log_sigmas = made.sigmas.log()
        return made

    def __call__(self, x: Tensor, sigma: Tensor, **kw: object) -> Tensor:
        """The same as ``forward``."""
        return self.forward(x, sigma, **kw)

    def forward(self, x: Tensor, sigma: Tensor, **kw: object) -> Tensor:
        """x0 [B, ...] in float32 or better, at ``x`` [B, ...] and ``sigma`` [B]; ``kw`` goes to the network."""
        x, sigma = (t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in (x, sigma))
        shape = (-1,) + (1,) * (x.ndim - 1)
        skip, out, scale = (
            c.to(x.dtype).reshape(shape) for c in self.row.scalings(sigma, weight=self.sampling.mixed_weight)
        )
        raw = self.inner_model(x * scale, self.timestep(sigma), **kw)
        return x * skip + raw.to(x.dtype) * out

    def add_noise(self, x0: Tensor, noise: Tensor, sigma: Tensor | float, *, max_denoise: bool = False) -> Tensor:
        """Where sampling starts from picture ``x0`` (zeros for none) and unit ``noise``, both [B, ...].

        ``max_denoise``: at the highest level of diffusion √(1 + σ²) in place of σ, as ComfyUI does there and A1111
        with its option sgm_noise_multiplier (comfy/model_sampling.py noise_scaling).
        """
        if self.levels.flow:
            return (1.0 - sigma) * x0 + sigma * noise if self.native else x0 + sigma * noise
        return x0 + noise * ((1.0 + sigma * sigma) ** 0.5 if max_denoise else sigma)

    def timestep(self, sigma: Tensor) -> Tensor:
        """What the network is told at ``sigma``, float32: 0 to 999; for rf 1000 σ/(1+σ), whatever the shift."""
        return self.levels.timestep(self.to_level(sigma))

    @property
    def sigma_min(self) -> Tensor:
        """The lowest noise level, a tensor of no dimensions."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The highest noise level, a tensor of no dimensions; rf's is finite, 0.9999 of noise or more."""
        return self.sigmas[-1]

    def sigma_to_t(self, sigma: Tensor, quantize: bool | None = None) -> Tensor:
        """Fractional place in the table, 0 to 999, as k-diffusion's schedules use it (the timestep, but for rf)."""
        place = self.levels.place(self._table_level(sigma))
        return place.round().long() if quantize else place

    def t_to_sigma(self, t: Tensor) -> Tensor:
        """The opposite of ``sigma_to_t``."""
        return self.from_level(self.levels.at(t))

    def get_sigmas(self, n: int | None = None) -> Tensor:
        """The ``normal`` schedule, n + 1 values with a trailing 0; all levels without ``n``."""
        if n is None:
            return torch.cat([self.sigmas.flip(0), self.sigmas.new_zeros(1)])
        return SCHEDULES["normal"](self, n)

    def percent_to_sigma(self, percent: float) -> float:
        """Sigma at a share of the schedule, 0 (above all levels) to 1 (below all), as ComfyUI's node ranges count."""
        level = self.levels.percent_to_sigma(percent)
        if self.native:
            return level
        return level / (1.0 - level) if level < 1.0 else BEYOND

    def from_level(self, level: Tensor) -> Tensor:
        """A noise level of the process in the sampler's coordinates, float32.

        For rf σ/(1-σ); above the last level but one, where that runs to infinity, log-linear up to ``sigma_max``.
        """
        if self.native:
            return level
        below, low, high = self._top()
        exact = level.cpu().double()
        share = ((exact - below) / (1.0 - below)).clamp(0.0, 1.0)
        top = low * (high / low) ** share
        plain = exact / (1.0 - exact).clamp(min=1e-12)
        return torch.where(exact > below, top, plain).float().to(level.device)

    def _table_level(self, sigma: Tensor) -> Tensor:
        """The opposite of ``from_level``, so that a schedule that starts at ``sigma_max`` does so to the last digit.

        It differs from ``to_level`` above rf's last level but one only.
        """
        if self.native:
            return sigma
        below, low, high = self._top()
        exact = sigma.cpu().double()
        share = ((exact.clamp(min=low) / low).log() / math.log(high / low)).clamp(max=1.0)
        level = torch.where(exact > low, below + (1.0 - below) * share, exact / (1.0 + exact))
        return level.float().to(sigma.device)

    def _top(self) -> tuple[float, float, float]:
        """rf's last level but one, what that is in exploding coordinates, and ``sigma_max``."""
        below = float(self.levels.sigmas[-2])
        low = below / (1.0 - below)
        return below, low, max(FLOW_SIGMA_MAX, 2.0 * low)

    def to_level(self, sigma: Tensor) -> Tensor:
        """The noise level of the process at ``sigma``: for rf σ/(1+σ)."""
        return sigma if self.native else sigma / (1.0 + sigma)
