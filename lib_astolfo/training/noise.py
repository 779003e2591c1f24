"""The noise that training adds to pictures, and the tricks that change it. All are off by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..diffusion.sampling import Sampling
from ..errors import BadInput
from . import checks
from .draws import Draws


@dataclass(frozen=True)
class Noise:
    """``offset``: deviation of a number added to each channel's noise (N. Guttenberg 2023, "Diffusion with offset
    noise"). ``multires_iterations``, ``multires_discount``: noise of coarser and coarser grids added, each with the
    discount's next power, the sum brought back to unit deviation (pyramid noise, as sd-scripts has it).
    ``perturbation``: deviation of noise that the network's input has but its target has not (Ning et al. 2023,
    arXiv:2301.11706).

    Offset and multires noise teach brightness to a schedule that ends with a trace of the picture. rf and zero terminal
    SNR end in pure noise, which sampling draws white: there they are refused, unless ``biased`` says they are meant.
    """

    offset: float = 0.0
    multires_iterations: int = 0
    multires_discount: float = 0.3
    perturbation: float = 0.0
    biased: bool = False

    def __post_init__(self) -> None:
        checks.number(self, "offset", "noise", (0.0, 1.0))
        checks.number(self, "multires_iterations", "noise", (0, 16), whole=True)
        checks.number(self, "multires_discount", "noise", (0.0, 1.0))
        checks.number(self, "perturbation", "noise", (0.0, 1.0))
        checks.flag(self, "biased", "noise")
        if self.offset and self.multires_iterations:
            expected = "0 with offset noise: both raise the low frequencies; sd-scripts refuses them together too"
            raise BadInput("noise.multires_iterations", self.multires_iterations, expected)


class Drawn(NamedTuple):
    """``noise``: of the target. ``seen``: of the network's input. Both float32 [B, C, h, w], CPU; often the same."""

    noise: Tensor
    seen: Tensor


def ends_in_noise(sampling: Sampling) -> bool:
    """Whether the highest noise level is pure noise."""
    return sampling.prediction == "rf" or sampling.zero_terminal_snr


def check(noise: Noise, sampling: Sampling) -> None:
    """BadInput for offset or multires noise where the schedule ends in pure noise."""
    if not ends_in_noise(sampling) or noise.biased:
        return
    for name in ("offset", "multires_iterations"):
        if getattr(noise, name):
            expected = f"0 with {sampling.describe()}: it ends in pure noise, which sampling draws white"
            raise BadInput(f"noise.{name}", getattr(noise, name), expected + " (or noise.biased: true)")


def draw(noise: Noise, draws: Draws, shape: tuple[int, int, int]) -> Drawn:
    """The noise of a step's items, each of ``shape`` (C, h, w)."""
    made = draws.normal("noise", shape)
    if noise.offset:
        made = made + noise.offset * draws.normal("offset", (shape[0], 1, 1))
    if noise.multires_iterations:
        made = _pyramid(made, noise, draws)
    if not noise.perturbation:
        return Drawn(made, made)
    return Drawn(made, made + noise.perturbation * draws.normal("perturbation", shape))


def _pyramid(made: Tensor, noise: Noise, draws: Draws) -> Tensor:
    """Each item's own grids: at iteration i smaller by r^i, r uniform from 2 to 4; its own deviation divides it.

    sd-scripts (library/custom_train_functions.py, pyramid_noise_like) draws r for the whole batch and divides by the
    whole batch's deviation.
    """
    factors = 2.0 + 2.0 * draws.uniform("multires factors", noise.multires_iterations)
    out = []
    for index, item in enumerate(draws.items):
        alone = Draws(draws.seed, draws.step, (item,))
        total = made[index : index + 1].clone()
        for level in range(noise.multires_iterations):
            scale = float(factors[index, level]) ** level
            height, width = (max(1, int(size / scale)) for size in total.shape[2:])
            coarse = alone.normal(f"multires {level}", (total.shape[1], height, width))
            fine = torch.nn.functional.interpolate(coarse, total.shape[2:], mode="bilinear", align_corners=False)
            total += noise.multires_discount**level * fine
            if height == 1 or width == 1:
                break
        out.append(total / total.std())
    return torch.cat(out) if out else made
