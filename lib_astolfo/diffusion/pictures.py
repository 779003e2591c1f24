"""Real pictures with noise of a fixed seed, as the probes show them to a network, and figures with standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput, Failed
from .conditioning import Conditioning
from .noise import PictureNoise

Tick = Callable[[], None]
"""Called before every batch at every noise level; may raise ``errors.Stopped``."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Real pictures to noise and denoise.

    ``latents`` [N,4,h,w] as the network sees clean ones; ``cond``: their captions, N rows; ``seed``: picture i gets
    the noise of seed + i at every level, whatever the batches.
    """

    latents: Tensor
    cond: Conditioning
    seed: int = 0
    batch: int = 8

    def __post_init__(self) -> None:
        if self.latents.ndim != 4 or len(self.latents) != len(self.cond) or not len(self.cond):
            found = f"latents {tuple(self.latents.shape)} and {len(self.cond)} captions"
            raise BadInput("pictures", found, "latents [N,C,h,w] with a caption each")
        if self.batch < 1:
            raise BadInput("batch", self.batch, "1 or more")

    def __len__(self) -> int:
        return len(self.latents)

    def noised(self, sigmas: Sequence[float], tick: Tick | None = None) -> Iterator[Noised]:
        """Every batch at every noise level, all levels of a batch in turn."""
        for start in range(0, len(self), self.batch):
            rows = range(start, min(start + self.batch, len(self)))
            noise = PictureNoise([self.seed + row for row in rows], self.latents.shape[1:])
            x0 = self.latents[start : rows.stop].float()
            for index, sigma in enumerate(sigmas):
                if tick is not None:
                    tick()
                drawn = noise.draw(x0.device)
                yield Noised(rows, index, x0, drawn, x0 + sigma * drawn, torch.full((len(rows),), sigma).to(x0))


@dataclass(frozen=True, eq=False)
class Noised:
    """Pictures ``rows`` at noise level number ``index``: x = x0 + σ n, all [B,4,h,w]; ``sigma`` [B]."""

    rows: range
    index: int
    x0: Tensor
    noise: Tensor
    x: Tensor
    sigma: Tensor

    def log_error(self, denoised: Tensor) -> Tensor:
        """log(‖D - x0‖ / ‖x0‖) of each picture, [B] float64 on the CPU. Failed if a network answered NaN."""
        error = norms(denoised - self.x0) / norms(self.x0).clamp(min=1e-12)
        if not bool(torch.isfinite(error).all()):
            raise Failed(f"the network answers NaN or infinity at sigma {float(self.sigma[0]):g}")
        return error.clamp(min=1e-12).log()


@dataclass(frozen=True)
class Estimate:
    """A mean over pictures and its standard error (NaN for a single picture)."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Tensor) -> Estimate:
        """From one value a picture, [N]."""
        error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(float(values.mean()), error)

    @classmethod
    def ratio(cls, over: Tensor, under: Tensor) -> Estimate:
        """Σ over / Σ under for [N] each, the error by linearisation (Cochran 1977, Sampling Techniques, 6.4)."""
        mean = float(over.sum() / under.sum())
        return cls(mean, Estimate.of((over - mean * under) / under.mean()).error)

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.error:.3f}"


def norms(value: Tensor) -> Tensor:
    """‖·‖ of each member of a batch, [B] float64 on the CPU."""
    return value.flatten(1).norm(dim=1).cpu().double()  # Apple's MPS has no float64
