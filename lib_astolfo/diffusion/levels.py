"""The noise levels of a sampling process, and the ways to name one: sigma, place in the table, timestep, percent.

Sigma is in the process's own coordinates: noise per unit of picture for the diffusion of SD, the share of noise
(0 to 1) for rectified flow.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from .sampling import Sampling
from .schedule import TIMESTEPS, flow_sigmas, sigmas

BEYOND = 999999999.9  # above every sigma: ComfyUI's percent_to_sigma(0), comfy/model_sampling.py


class Levels:
    """The 1000 noise levels of a ``Sampling``.

    ``sigmas``, ``log_sigmas``: float32 [1000], rising. ``flow``: rectified flow. ``integer``: whole timesteps only.
    """

    def __init__(self, sampling: Sampling, *, like: str = "a1111") -> None:
        self.flow = sampling.prediction == "rf"
        self.shift = sampling.shift
        self.integer = like in ("comfy", "diffusers") and not self.flow
        self.sigmas = flow_sigmas(self.shift) if self.flow else sigmas(sampling.zero_terminal_snr, like=like)
        self.log_sigmas = self.sigmas.log()
        self._copies: dict[torch.device, Tensor] = {}

    def over(self, sigmas: Tensor) -> Levels:
        """The same process with other noise levels, float32 [1000], rising."""
        made = copy.copy(self)
        made.sigmas, made.log_sigmas, made._copies = sigmas, sigmas.log(), {}
        return made

    @property
    def sigma_min(self) -> Tensor:
        """The lowest noise level, a tensor of no dimensions."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The highest noise level, a tensor of no dimensions."""
        return self.sigmas[-1]

    def place(self, sigma: Tensor) -> Tensor:
        """Fractional index into the table, any shape, 0 to 999, by log sigma (k_diffusion/external.py:66-78)."""
        table = self._log_sigmas(sigma.device)
        log_sigma = sigma.float().log()
        # Not torch.searchsorted: Apple's MPS has none before torch 2.2.
        low = ((log_sigma.unsqueeze(-1) >= table).sum(dim=-1) - 1).clamp(0, len(table) - 2)
        below, above = table[low], table[low + 1]
        return low + ((log_sigma - below) / (above - below)).clamp(0.0, 1.0)

    def at(self, place: Tensor) -> Tensor:
        """The opposite of ``place`` (k_diffusion/external.py:80-84)."""
        table = self._log_sigmas(place.device)
        place = place.float().clamp(0, len(table) - 1)
        low = place.floor().long()
        high = place.ceil().long()
        weight = place - low
        return ((1.0 - weight) * table[low] + weight * table[high]).exp()

    def timestep(self, sigma: Tensor) -> Tensor:
        """What the network is told, float32: 0 to 999 for diffusion, 1000 sigma for flow whatever the shift."""
        if self.flow:
            return TIMESTEPS * sigma.float()
        place = self.place(sigma)
        if not self.integer:
            return place
        table = self._log_sigmas(sigma.device)
        low = place.floor().long()
        high = place.ceil().long()
        log_sigma = sigma.float().log()
        nearer = (table[high] - log_sigma).abs() < (log_sigma - table[low]).abs()
        return torch.where(nearer, high, low).float()

    def from_timestep(self, timestep: Tensor) -> Tensor:
        """ComfyUI's sigma of a timestep; for flow it applies the shift, so it undoes ``timestep`` at shift 1 only."""
        if not self.flow:
            return self.at(timestep)
        t = timestep.float() / TIMESTEPS
        return self.shift * t / (1.0 + (self.shift - 1.0) * t)

    def percent_to_sigma(self, percent: float) -> float:
        """Sigma at a share of the schedule, 0 (above all levels) to 1 (below all); comfy/model_sampling.py."""
        if percent >= 1.0:
            return 0.0
        if self.flow:
            t = min(1.0, 1.0 - percent)
            return self.shift * t / (1.0 + (self.shift - 1.0) * t)
        if percent <= 0.0:
            return BEYOND
        return float(self.at(torch.tensor((1.0 - percent) * (TIMESTEPS - 1.0))))

    def _log_sigmas(self, device: torch.device) -> Tensor:
        """The table on the device that is asked from."""
        if device not in self._copies:
            self._copies[device] = self.log_sigmas.to(device)
        return self._copies[device]
