"""In which precision the network of a run computes: autocast, and what losses are multiplied by for float16."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from lib_astolfo.errors import BadInput

FIRST_SCALE, LEAST_SCALE, MOST_SCALE = 2.0**12, 1.0, 2.0**24
PATIENCE = 500  # good steps after which the scale is doubled


@dataclass(frozen=True)
class Compute:
    """``dtype``: of autocast on ``device``, None for none."""

    device: str
    dtype: torch.dtype | None

    def autocast(self, enabled: bool = True) -> AbstractContextManager[Any]:
        """Around the forward pass. Casts are not kept: each weight is read once, and keeping them costs its memory."""
        on = enabled and self.dtype is not None
        return torch.autocast(self.device, self.dtype or torch.bfloat16, enabled=on, cache_enabled=False)

    @property
    def scales(self) -> bool:
        """Whether losses are multiplied: float16 has no numbers for small gradients."""
        return self.dtype == torch.float16


def choose(wanted: str, device: torch.device, network: set[torch.dtype], trained: set[torch.dtype]) -> Compute:
    """The precision for ``RunSettings.compute``, with the dtypes of the network's weights and of what is trained.

    Raises BadInput for none where two dtypes meet, which only autocast can join.
    """
    mixed = len(network | trained) > 1
    if wanted == "none" and mixed:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in network | trained))
        raise BadInput("compute", f"none with weights in {found}", "auto or bf16: autocast joins them")
    if wanted in ("bf16", "fp16"):
        return Compute(device.type, torch.bfloat16 if wanted == "bf16" else torch.float16)
    full = torch.float32 in network | trained
    if wanted == "none" or not (mixed or (full and device.type == "cuda")):
        return Compute(device.type, None)
    able = device.type != "cuda" or torch.cuda.is_bf16_supported()
    return Compute(device.type, torch.bfloat16 if able else torch.float16)


@dataclass
class Scale:
    """The factor of losses: halved when a step was not finite, doubled after a long row of good ones."""

    value: float = FIRST_SCALE
    good: int = 0

    def after(self, skipped: bool) -> None:
        """Take in a step."""
        if skipped:
            self.value, self.good = max(self.value / 2, LEAST_SCALE), 0
            return
        self.good += 1
        if self.good >= PATIENCE:
            self.value, self.good = min(self.value * 2, MOST_SCALE), 0
