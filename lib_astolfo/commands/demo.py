"""``demo``: the whole loop on the digits pair, from two checkpoints to a baked winner and a report in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class DemoSettings:
    """How long and how fine; the defaults take a few minutes on two cores."""

    base: str = "digits-eps.safetensors"
    trained: str = "digits-v.safetensors"
    ratios: list[float] = field(default_factory=lambda: [round(0.1 * i, 1) for i in range(11)])
    cfg: list[float] = field(default_factory=lambda: [1.5, 2.5, 4.0])
    uncond: list[Any] = field(default_factory=lambda: ["zero", "null"])
    refine: bool = True  # more ratios around the best ones
    pictures: int = 64  # a cell
    steps: int = 8
    seed: int = 1
    output: str = ""  # the baked winner; empty: in the demo's folder
    folder: str = ""  # empty: the job's own
