"""Pictures of one brightness each, and a small network that learns them: its own gain for the mean and for the rest."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training import losses, objective, times, weights
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.settings import Settings

SIDE, BRIGHTNESS, TEXTURE = 64, 0.33, 0.5  # variance of the brightness, deviation of the texture
VARIANCE = BRIGHTNESS + TEXTURE**2 / SIDE**2  # of the mean of a picture
BATCH, STEPS, RATE = 16, 600, 5e-3


class Gains(nn.Module):
    """F = a(timestep) mean + b(timestep) rest, with a and b from a perceptron over waves of the timestep."""

    def __init__(self, width: int = 64, waves: int = 16) -> None:
        super().__init__()
        self.waves = torch.logspace(0.0, math.log10(64.0), waves) * math.pi / 1000.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = (nn.Linear(2 * waves + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
            self.body = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, z: Tensor, timestep: Tensor) -> Tensor:
        angle = timestep.float()[:, None] * self.waves
        seen = torch.cat([angle.sin(), angle.cos(), timestep.float()[:, None] / 1000.0], dim=1)
        mean_gain, rest_gain = self.body(seen).to(z.dtype)[:, :, None, None, None].unbind(1)
        mean = z.mean(dim=(1, 2, 3), keepdim=True)
        return mean_gain * mean + rest_gain * (z - mean)


def pictures(step: int) -> Tensor:
    """[BATCH, 1, SIDE, SIDE]: one brightness each, and white texture."""
    drawn = torch.randn(BATCH, SIDE * SIDE + 1, generator=torch.Generator().manual_seed(step))
    return (BRIGHTNESS**0.5 * drawn[:, :1] + TEXTURE * drawn[:, 1:]).view(BATCH, 1, SIDE, SIDE)


def trained(settings: Objective) -> Gains:
    """A network trained with the objective, its noise levels, weights and loss, by the trainer's own optimiser."""
    network = Gains()
    optimiser = Optimiser({"all": dict(network.named_parameters())}, Settings(weight_decay=0.0, betas=(0.9, 0.99)))
    for step in range(STEPS):
        moments = times.draw(settings.times, settings.sampling, Draws(0, step, tuple(range(BATCH))))
        noise = torch.randn(BATCH, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(10**7 + step))
        made = objective.make(pictures(step), noise, moments, settings.sampling)
        each = losses.per_item(network(made.input, made.timestep), made.target, moments, settings.loss)
        loss = (each * weights.weight(moments, settings.weights, settings.sampling)).mean()
        warm, fall = min(1.0, (step + 1) / 50), 0.5 + 0.5 * math.cos(math.pi * step / STEPS)
        optimiser.begin(step, {"all": RATE * warm * fall})
        optimiser.backward(loss)
        optimiser.finish()
    return network


@torch.no_grad()
def spread(network: Gains, sampling: Sampling) -> float:
    """Deviation of the brightness of sampled pictures over that of the pictures trained on.

    Euler's method over all levels. The network is linear in the mean, so one picture tells: a constant one, of which
    white noise's mean is a 1/SIDE part.
    """
    denoiser = Denoiser(network, sampling)
    sigmas = denoiser.get_sigmas()
    x = torch.ones(1, 1, SIDE, SIDE) * sigmas[0]
    for sigma, following in itertools.pairwise(sigmas):
        x = x + (x - denoiser(x, sigma[None])) / sigma * (following - sigma)
    return float(x.mean().abs()) / SIDE / VARIANCE**0.5
