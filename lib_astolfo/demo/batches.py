"""What the digits laboratory trains on, step by step: captions, coloured digits, noise levels and noise from one
seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib_astolfo.demo import digits
from lib_astolfo.demo.vae import latents_of
from lib_astolfo.diffusion.schedule import TIMESTEPS, alphas_cumprod

CAPTIONS, PICTURES = 16, 4  # a step: 16 captions with 4 pictures each


@dataclass(frozen=True)
class Batch:
    """One step. B = 64 pictures, ordered by caption.

    ``captions``: 16 texts; ``zeroed`` [16] bool: the text's encoding is to be replaced by zeros.
    ``x0``, ``noise`` float32 [B,4,8,8]; ``alpha``, ``sigma`` [B,1,1,1], z = alpha x0 + sigma noise; ``timestep`` [B].
    """

    captions: list[str]
    zeroed: Tensor
    x0: Tensor
    noise: Tensor
    alpha: Tensor
    sigma: Tensor
    timestep: Tensor


class Batches:
    """An endless, repeatable stream of batches.

    ``prediction``: rf has its own path (alpha = 1 - t); the others the VP path of the 1000 timesteps.
    ``zero``, ``null``: share of the captions replaced by a zero encoding and by the empty text.
    """

    def __init__(
        self, seed: int, *, prediction: str, zero_terminal_snr: bool = False, zero: float = 0.0, null: float = 0.0
    ) -> None:
        training, _ = digits.load()
        self._generator = torch.Generator().manual_seed(seed)
        self._grey = torch.from_numpy(training.grey)
        self._rows = [torch.from_numpy(np.flatnonzero(training.labels == label)) for label in range(10)]
        self._colours = torch.tensor(list(digits.COLOURS.values()))
        self._flow = prediction == "rf"
        self._alphas = alphas_cumprod(zero_terminal_snr)
        self._zero, self._null = zero, null

    def next(self) -> Batch:
        """The next batch; what it holds depends on the seed and on how many came before."""
        form, digit, colour = self._pick(len(digits.FORMS)), self._pick(10), self._pick(len(digits.COLOURS))
        names = list(digits.COLOURS)
        choices = zip(form.tolist(), digit.tolist(), colour.tolist(), strict=True)
        captions = [digits.caption(kind, label, names[which]) for kind, label, which in choices]
        chance = torch.rand(CAPTIONS, generator=self._generator)
        nulled = (chance >= self._zero) & (chance < self._zero + self._null)
        captions = ["" if empty else text for text, empty in zip(captions, nulled.tolist(), strict=True)]
        x0 = self._pictures(digit, torch.where(form == 0, -1, colour))
        noise = torch.randn(x0.shape, generator=self._generator)
        alpha, sigma, timestep = self._levels(len(x0))
        return Batch(
            captions, chance < self._zero, x0, noise, alpha[:, None, None, None], sigma[:, None, None, None], timestep
        )

    def _pick(self, below: int, *shape: int) -> Tensor:
        return torch.randint(0, below, shape or (CAPTIONS,), generator=self._generator)

    def _pictures(self, digit: Tensor, colour: Tensor) -> Tensor:
        """Latents of PICTURES digits for each caption; colour -1 is any."""
        rows = torch.cat([self._rows[label][self._pick(len(self._rows[label]), PICTURES)] for label in digit.tolist()])
        colour = colour.repeat_interleave(PICTURES)
        rgb = self._colours[torch.where(colour < 0, self._pick(len(self._colours), len(colour)), colour)]
        return latents_of(self._grey[rows][:, None] * rgb[:, :, None, None])

    def _levels(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """(alpha, sigma, timestep) [count], spread evenly over the schedule in random order."""
        place = torch.randperm(count, generator=self._generator) + torch.rand(count, generator=self._generator)
        place = place / count
        if self._flow:
            return 1 - place, place, place * TIMESTEPS
        index = (place * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
        alphas = self._alphas[index]
        return alphas.sqrt().float(), (1 - alphas).sqrt().float(), index.float()
