"""Gaussian pictures, and a network that is linear in each of their modes: trained by weighted least squares.

Its gain over the timestep is piecewise linear between knots; the sums it is solved from are those a trainer sees:
inputs, timesteps, targets and weights of batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training import noise as noises
from lib_astolfo.training import objective as objectives
from lib_astolfo.training import times as levels
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.objective import Made, Objective
from lib_astolfo.training.times import Moments, Times

SIDE = 8
BATCH = 1000


def spectrum(modes: int = 8) -> Tensor:
    """Variances that fall as a power, from 4 to 0.03, mean 0.9."""
    return 4.0 * torch.arange(1, modes + 1, dtype=torch.float64) ** -2.3


def pictures(variances: Tensor, count: int, seed: int) -> Tensor:
    """float32 [count, modes, SIDE, SIDE]: each channel one mode, white within."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(count, len(variances), SIDE, SIDE, generator=generator)
    return white * variances.sqrt().float()[:, None, None]


@dataclass
class Batch:
    """What a training step has."""

    x0: Tensor
    noise: Tensor
    moments: Moments
    made: Made


def batch(objective: Objective, variances: Tensor, step: int) -> Batch:
    """One step's pictures, noise and levels, drawn as the trainer draws them."""
    draws = Draws(11, step, tuple(range(BATCH)))
    moments = levels.draw(objective.times, objective.sampling, draws)
    x0 = pictures(variances, BATCH, step)
    noise, seen = noises.draw(objective.noise, draws, (len(variances), SIDE, SIDE))
    return Batch(x0, noise, moments, objectives.make(x0, noise, moments, objective.sampling, seen=seen))


def stratified(sampling: Sampling, distribution: str = "uniform", **parts: object) -> Objective:
    """An objective with even draws of time."""
    return Objective(sampling, Times(distribution, stratified=True), **parts)  # type: ignore[arg-type]


class Linear:
    """F = gain(timestep, mode) z, with ``knots`` + 1 knots from timestep 0 to 1000."""

    def __init__(self, modes: int, knots: int = 125) -> None:
        self.knots = knots
        self.square = torch.zeros(modes, knots + 1, knots + 1, dtype=torch.float64)
        self.product = torch.zeros(modes, knots + 1, dtype=torch.float64)
        self.gains = torch.zeros(modes, knots + 1, dtype=torch.float64)

    def hats(self, timestep: Tensor) -> Tensor:
        """[B, knots + 1]: the shares of the two knots beside each timestep."""
        place = timestep.double()[:, None] * self.knots / 1000.0
        return (1.0 - (place - torch.arange(self.knots + 1)).abs()).clamp(min=0.0)

    def learn(self, made: Made, weight: Tensor) -> None:
        """Take a batch in."""
        hats = self.hats(made.timestep)
        z, target = made.input.double(), made.target.double()
        zz = (z * z).mean(dim=(2, 3)) * weight[:, None]
        zt = (z * target).mean(dim=(2, 3)) * weight[:, None]
        self.square += torch.einsum("bi,bj,bm->mij", hats, hats, zz)
        self.product += torch.einsum("bi,bm->mi", hats, zt)

    def solve(self, ridge: float = 1e-9) -> None:
        """The gains of the least weighted squares; ``ridge`` pulls what was not seen to 0."""
        eye = torch.eye(self.knots + 1, dtype=torch.float64)
        self.gains = torch.linalg.solve(self.square + ridge * eye, self.product)

    def gain(self, timestep: Tensor) -> Tensor:
        """[B, modes]."""
        return self.hats(timestep) @ self.gains.T

    def __call__(self, z: Tensor, timestep: Tensor) -> Tensor:
        return self.gain(timestep).to(z.dtype)[:, :, None, None] * z
