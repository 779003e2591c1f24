"""What the text says to the network: the tokens for cross-attention and SDXL's vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import BadInput

MAX_PERIOD = 10000.0  # of the size ids' frequencies


@dataclass(frozen=True, eq=False)
class Conditioning:
    """A batch of encoded prompts.

    ``crossattn`` [B, T, C]: T tokens, a multiple of 77, as the text encoders give them.
    ``vector`` [B, V] or None: SDXL's pooled text followed by the size ids; SD1 and SD2 have none.
    ``pooled``: how many leading channels of ``vector`` are pooled text (SDXL 1280); the rest are size ids.

    Raises BadInput if the shapes do not fit together.
    """

    crossattn: Tensor
    vector: Tensor | None = None
    pooled: int = 0

    def __post_init__(self) -> None:
        if self.crossattn.ndim != 3:
            raise BadInput("crossattn", f"shape {tuple(self.crossattn.shape)}", "[batch, tokens, channels]")
        if self.vector is None:
            if self.pooled:
                raise BadInput("pooled", self.pooled, "0 without a vector")
            return
        if self.vector.ndim != 2 or self.vector.shape[0] != len(self):
            raise BadInput("vector", f"shape {tuple(self.vector.shape)}", f"[{len(self)}, channels]")
        if not 0 <= self.pooled <= self.vector.shape[1]:
            raise BadInput("pooled", self.pooled, f"0 to {self.vector.shape[1]}, the channels of the vector")

    def __len__(self) -> int:
        return int(self.crossattn.shape[0])

    @property
    def tokens(self) -> int:
        """Number of tokens T."""
        return int(self.crossattn.shape[1])

    def __getitem__(self, index: int | slice | Sequence[int]) -> Conditioning:
        """The named batch members, always as a batch."""
        if isinstance(index, int):
            index = [index]
        rows = index if isinstance(index, slice) else list(index)
        vector = None if self.vector is None else self.vector[rows]
        return replace(self, crossattn=self.crossattn[rows], vector=vector)

    def repeat(self, times: int) -> Conditioning:
        """The whole batch ``times`` times over: [a, b] becomes [a, b, a, b]."""
        vector = None if self.vector is None else self.vector.repeat(times, 1)
        return replace(self, crossattn=self.crossattn.repeat(times, 1, 1), vector=vector)

    def expand(self, batch: int) -> Conditioning:
        """A batch of one stretched to ``batch`` members; a batch of ``batch`` as it is. Else BadInput."""
        if len(self) == batch:
            return self
        if len(self) != 1:
            raise BadInput("conditioning", f"a batch of {len(self)}", f"a batch of 1 or {batch}")
        return self.repeat(batch)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditioning:
        """On another device, in another dtype."""
        vector = None if self.vector is None else self.vector.to(device=device, dtype=dtype)
        return replace(self, crossattn=self.crossattn.to(device=device, dtype=dtype), vector=vector)

    def with_tokens(self, tokens: int) -> Conditioning:
        """Repeated along the tokens up to ``tokens``, a multiple of T.

        Attention weights of repeated keys are shared out evenly, so the network's output does not change.
        """
        times, rest = divmod(tokens, self.tokens)
        if rest:
            raise BadInput("tokens", tokens, f"a multiple of {self.tokens}")
        return self if times == 1 else replace(self, crossattn=self.crossattn.repeat(1, times, 1))

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """One batch of all; fewer tokens are repeated to the least common multiple (see ``with_tokens``)."""
        if not parts:
            raise BadInput("conditioning", "nothing to join", "at least one")
        first = parts[0]
        tokens = math.lcm(*(part.tokens for part in parts))
        for part in parts:
            if (part.vector is None) != (first.vector is None) or part.pooled != first.pooled:
                raise BadInput("conditioning", "parts with and without the same vector", "parts of one architecture")
        vectors = [part.vector for part in parts if part.vector is not None]
        crossattn = torch.cat([part.with_tokens(tokens).crossattn for part in parts])
        return Conditioning(crossattn, torch.cat(vectors) if vectors else None, first.pooled)


def size_embedding(numbers: Sequence[float], width: int) -> Tensor:
    """SDXL's size ids: each number as ``width`` channels, cosines then sines; float32 [len(numbers) * width].

    Podell et al. 2023 (arXiv:2307.01952) section 2.2; sgm/modules/diffusionmodules/util.py, ``timestep_embedding``.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32) / half)
    angles = torch.tensor(numbers, dtype=torch.float32)[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).flatten()


def with_size_ids(cond: Conditioning, numbers: Sequence[Sequence[float]]) -> Conditioning:
    """``cond`` with the size ids of each row replaced: SDXL's original height, width, crop top, left, target height,
    width in pixels. A batch without a vector (SD1, SD2) as it is.

    Raises BadInput where rows are not as many, or the vector holds another number of ids.
    """
    if cond.vector is None:
        return cond
    rows = [list(row) for row in numbers]
    width = (cond.vector.shape[1] - cond.pooled) // max(len(rows[0]) if rows else 1, 1)
    if len(rows) != len(cond) or {cond.pooled + width * len(row) for row in rows} != {cond.vector.shape[1]}:
        found = f"{len(rows)} rows of {sorted({len(row) for row in rows})} numbers"
        raise BadInput("size ids", found, f"{len(cond)} rows that fill {cond.vector.shape[1] - cond.pooled} channels")
    ids = torch.stack([size_embedding(row, width) for row in rows]).to(cond.vector)
    return replace(cond, vector=torch.cat([cond.vector[:, : cond.pooled], ids], dim=1))
