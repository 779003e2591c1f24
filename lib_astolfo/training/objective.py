"""The objective of a training: one frozen setting, and what follows from it for a batch.

All arithmetic is in float32 or better and the cast to the network's dtype comes last: with the schedule in bfloat16,
two timesteps get no noise at all and the 1000 noise levels become 192.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from ..diffusion.plain import from_plain
from ..diffusion.prediction import TABLE, row_of
from ..diffusion.sampling import Sampling
from ..errors import BadInput
from . import noise as noises
from . import times as levels
from . import weights as weighting
from .distill import Distillation
from .losses import Loss
from .noise import Noise
from .times import Moments, Times
from .weights import Weights

PARTS = {"sampling": Sampling, "times": Times, "weights": Weights, "loss": Loss, "noise": Noise}


@dataclass(frozen=True)
class Objective:
    """What a network is trained to predict, on which noise levels, and how its errors count.

    Raises BadInput, naming the key, for parts that contradict each other.
    """

    sampling: Sampling = field(default_factory=Sampling)
    times: Times = field(default_factory=Times)
    weights: Weights = field(default_factory=Weights)
    loss: Loss = field(default_factory=Loss)
    noise: Noise = field(default_factory=Noise)
    distill: Distillation | None = None

    def __post_init__(self) -> None:
        if self.sampling.prediction == "mixed":
            raise BadInput(
                "sampling.prediction", "mixed", "eps, v, x0 or rf: mixed is for reading merges, not a target"
            )
        weighting.check(self.weights, self.sampling)
        noises.check(self.noise, self.sampling)
        levels.window(self.times, self.sampling.shift)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML, JSON and headers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Objective:
        """The opposite of ``to_dict``; missing keys take their defaults. Raises BadInput for unknown keys."""
        plain = dict(values)
        for name, kind in PARTS.items():
            if isinstance(plain.get(name), Mapping):
                plain[name] = from_plain(kind, plain[name], name)
        if isinstance(plain.get("distill"), Mapping):
            plain["distill"] = Distillation.from_dict(plain["distill"])
        return from_plain(cls, plain, "objective")


class Made(NamedTuple):
    """One batch: ``input`` [B, …] in the pictures' dtype, ``timestep`` float32 [B], ``target`` float32 or better."""

    input: Tensor
    timestep: Tensor
    target: Tensor


class Readings(NamedTuple):
    """What an output says, each [B, …] in float32 or better."""

    x0: Tensor
    eps: Tensor
    v: Tensor
    velocity: Tensor


def make(x0: Tensor, noise: Tensor, moments: Moments, sampling: Sampling, *, seen: Tensor | None = None) -> Made:
    """What the network gets and what it should answer.

    ``x0``: pictures [B, …]; ``noise`` likewise; ``moments``: their noise levels (``times.draw``). ``seen``: the noise
    of the input, where it is another than the target's (``noise.Drawn``).
    """
    alpha, sigma = moments.rows(x0)
    picture, noise = x0.to(alpha.dtype), noise.to(x0.device, alpha.dtype)
    seen = noise if seen is None else seen.to(x0.device, alpha.dtype)
    target = row_of(sampling, native=True).target(picture, noise, alpha, sigma)
    return Made((alpha * picture + sigma * seen).to(x0.dtype), moments.timestep.to(x0.device), target)


def read(output: Tensor, z: Tensor, moments: Moments, sampling: Sampling) -> Readings:
    """The picture, noise, v and velocity that the ``output`` at input ``z`` says, for logging and previews."""
    alpha, sigma = moments.rows(output)
    dtype = alpha.dtype
    x0, noise = row_of(sampling, native=True).x0_noise(output.to(dtype), z.to(dtype), alpha, sigma)
    v, velocity = (TABLE[name].target(x0, noise, alpha, sigma) for name in ("v", "rf"))
    return Readings(x0, noise, v, velocity)
