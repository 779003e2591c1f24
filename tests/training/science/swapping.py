"""A small network of Gaussian pictures that changes what it predicts, and what its losses should be, by hand.

The network has one gain for each mode, from a perceptron over waves of the timestep, and is trained with the trainer's
own draws, targets and optimiser. All losses are means over uniform times and modes, as in ``cases``.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training import distill, losses, objective, times
from lib_astolfo.training.distill import Distillation
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.losses import Loss
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.settings import Settings
from lib_astolfo.training.times import Moments, Times
from tests.training.cases import MODES

EVEN = Times(stratified=True)
BATCH, SIDE, RATE = 48, 3, 4e-3


class Gains(nn.Module):
    """F = gain(timestep, mode) z."""

    def __init__(self, width: int = 48, waves: int = 12) -> None:
        super().__init__()
        self.waves = torch.logspace(0.0, math.log10(40.0), waves) * math.pi / 1000.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = (nn.Linear(2 * waves + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
            self.body = nn.Sequential(*layers, nn.Linear(width, len(MODES)))

    def gain(self, timestep: Tensor) -> Tensor:
        """[B, modes]."""
        angle = timestep.float()[:, None] * self.waves
        found: Tensor = self.body(torch.cat([angle.sin(), angle.cos(), timestep.float()[:, None] / 1000.0], dim=1))
        return found

    def forward(self, z: Tensor, timestep: Tensor) -> Tensor:
        return self.gain(timestep)[:, :, None, None] * z


def pictures(step: int) -> tuple[Tensor, Tensor]:
    """Pictures and noise of a step, [BATCH, modes, SIDE, SIDE] each."""
    white = torch.randn(2, BATCH, len(MODES), SIDE, SIDE, generator=torch.Generator().manual_seed(step))
    return white[0] * MODES.sqrt().float()[:, None, None], white[1]


def train(
    network: Gains, sampling: Sampling, steps: int, teacher: tuple[Gains, Sampling] | None = None, *, first: int = 0
) -> Gains:
    """A copy that was trained for so many steps; with a ``teacher`` towards what that says, where it was trained."""
    trained = copy.deepcopy(network)
    optimiser = Optimiser({"all": dict(trained.named_parameters())}, Settings(weight_decay=0.0, betas=(0.9, 0.99)))
    for step in range(steps):
        moments = times.draw(EVEN, sampling, Draws(0, first + step, tuple(range(BATCH))))
        x0, noise = pictures(first + step)
        made = objective.make(x0, noise, moments, sampling)
        target = made.target if teacher is None else taught(x0, noise, moments, sampling, teacher)[0]
        loss = losses.per_item(trained(made.input, made.timestep), target, moments, Loss()).mean()
        optimiser.begin(step, {"all": RATE * min(1.0, (step + 1) / 20) * (1.0 - step / steps)})
        optimiser.backward(loss)
        optimiser.finish()
    return trained


@torch.no_grad()
def taught(
    x0: Tensor, noise: Tensor, moments: Moments, sampling: Sampling, teacher: tuple[Gains, Sampling]
) -> tuple[Tensor, Tensor]:
    """The targets of a step with a teacher, and which of them are the teacher's."""
    settings = Distillation(teacher[1])
    question = distill.ask(x0, noise, moments, settings)
    said = distill.target(teacher[0](question.input, question.timestep), question, moments, settings, sampling)
    real = objective.make(x0, noise, moments, sampling).target
    return distill.blend(real, said, question.valid), question.valid


def levels(sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """(timestep, alpha, sigma) [1000, 1] float64, uniform in time, from the definitions."""
    if sampling.prediction == "rf":
        t = (torch.arange(1000, dtype=torch.float64)[:, None] + 0.5) / 1000.0
        return 1000.0 * t, 1.0 - t, t
    root = (1.0 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).double() ** 2).cumprod(0).sqrt()
    if sampling.zero_terminal_snr:
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return torch.arange(1000.0).double()[:, None], root[:, None], (1.0 - root[:, None] ** 2).sqrt()


def loss_by_hand(gain: Tensor, sampling: Sampling) -> float:
    """E|gain z - target|² for gains [1000, modes] at ``levels``."""
    _, a, s = levels(sampling)
    p, q = {"eps": (0 * a, 1 + 0 * a), "v": (-s, a), "rf": (-1 + 0 * a, 1 + 0 * a)}[sampling.prediction]
    return float((MODES * (gain * a - p) ** 2 + (gain * s - q) ** 2).mean())


def best(sampling: Sampling) -> Tensor:
    """The gains of the best network at ``levels``."""
    _, a, s = levels(sampling)
    p, q = {"eps": (0 * a, 1 + 0 * a), "v": (-s, a), "rf": (-1 + 0 * a, 1 + 0 * a)}[sampling.prediction]
    return (p * a * MODES + q * s) / (a * a * MODES + s * s)


@torch.no_grad()
def loss_of(network: Gains, sampling: Sampling) -> float:
    """What a network loses on average under an objective, by hand from its gains."""
    return loss_by_hand(network.gain(levels(sampling)[0][:, 0]).double(), sampling)
