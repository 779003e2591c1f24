"""What is asked of an extraction, and what became of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.checkpoints.lora import saving
from lib_astolfo.checkpoints.lora.decompose import Cut
from lib_astolfo.errors import BadInput

KINDS = ("lora", "lokr")


@dataclass(frozen=True)
class Extraction:
    """How to extract.

    Attributes:
        kind: ``lora`` (with convolutions it is what LyCORIS calls LoCon), or ``lokr``.
        cut: rank, energy or threshold of linear layers and 1x1 convolutions; for LoKr that of the larger factor, whole
            if nothing limits it.
        conv: the same for larger convolutions; None: as ``cut``.
        factor: LoKr's: the smaller factor of each side is at most this; -1: as near to the root as can be.
        text_encoders: take them too.
        convolutions: take larger convolutions too.
        rest: take norms, biases and embeddings too, as plain differences (LyCORIS' names).
        smallest: modules whose change is less than this share of their weight are left out.
        dtype: of the file.
    """

    kind: str = "lora"
    cut: Cut = field(default_factory=lambda: Cut(32))
    conv: Cut | None = None
    factor: int = -1
    text_encoders: bool = True
    convolutions: bool = True
    rest: bool = False
    smallest: float = 0.0
    dtype: str = "fp16"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput("kind", repr(self.kind), f"one of {', '.join(KINDS)}")
        if self.factor == 0 or self.factor < -1:
            raise BadInput("factor", self.factor, "a whole number above 0, or -1")
        if not 0 <= self.smallest < 1:
            raise BadInput("smallest", self.smallest, "a share from 0 to below 1")
        saving.dtype_of(self.dtype)


@dataclass(frozen=True)
class Extracted:
    """One module: its rank (0 for a plain difference), ‖Δ‖ and ‖Δ - what was written‖ (Frobenius)."""

    name: str
    block: str
    rank: int
    norm: float
    missing: float

    @property
    def error(self) -> float:
        """Relative."""
        return self.missing / self.norm if self.norm else 0.0


@dataclass(frozen=True)
class ExtractReport:
    """The outcome of an extraction.

    Attributes:
        modules: what was written.
        unchanged: modules that are equal in both models, or changed by less than ``smallest``.
        left: tensors that differ but are not in the file: name to ‖Δ‖.
        bytes: size of the file.
    """

    modules: tuple[Extracted, ...]
    unchanged: int
    left: Mapping[str, float] = field(default_factory=dict)
    bytes: int = 0

    @property
    def error(self) -> float:
        """Relative error over all modules in the file."""
        return _relative(self.modules)

    @property
    def whole_error(self) -> float:
        """Relative error over everything that differs in UNet and text encoders, with what was left out."""
        left = sum(value**2 for name, value in self.left.items() if component_of(name) != "vae")
        norm = sum(module.norm**2 for module in self.modules) + left
        return math.sqrt((sum(module.missing**2 for module in self.modules) + left) / norm) if norm else 0.0

    def blocks(self) -> dict[str, float]:
        """Relative error by block."""
        found: dict[str, list[Extracted]] = {}
        for module in self.modules:
            found.setdefault(module.block, []).append(module)
        return {block: _relative(found[block]) for block in sorted(found)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ranks = [module.rank for module in self.modules if module.rank] or [0]
        return {
            "modules": len(self.modules),
            "unchanged": self.unchanged,
            "error": self.error,
            "whole_error": self.whole_error,
            "rank": {"least": min(ranks), "median": int(statistics.median(ranks)), "most": max(ranks)},
            "blocks": self.blocks(),
            "errors": {module.name: module.error for module in self.modules},
            "left": dict(self.left),
            "bytes": self.bytes,
        }


def _relative(modules: Iterable[Extracted]) -> float:
    modules = tuple(modules)
    norm = sum(module.norm**2 for module in modules)
    return math.sqrt(sum(module.missing**2 for module in modules) / norm) if norm else 0.0
