"""What became of a LoRA file in a merge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class LoraReport:
    """The outcome for one LoRA of a recipe.

    Attributes:
        file: its name.
        weight, te_weight: what the recipe asks for.
        modules: number of its modules that were baked in; LyCORIS' merge counts the same.
        parts: that number by part: unet, te1, te2.
        kinds: that number by kind: lora, loha, lokr, ia3, norm, full, bias.
        off: modules that fit, but whose weight is 0.
        unused: tensor name to the reason why it had no effect.
        embeddings: textual inversions in the file (``bundle_emb``): not weights of the model, so not baked.
        norms: Frobenius norm of the change by block, of the tensors that were computed (a live merge leaves out those
            that hold the result already).
    """

    file: str
    weight: float
    te_weight: float
    modules: int
    parts: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)
    off: int = 0
    unused: Mapping[str, str] = field(default_factory=dict)
    embeddings: tuple[str, ...] = ()
    norms: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "embeddings": list(self.embeddings)}

    def summary(self) -> str:
        """One line for people."""
        parts = ", ".join(f"{part} {count}" for part, count in self.parts.items())
        norm = math.sqrt(sum(value * value for value in self.norms.values()))
        more = [f"unused keys: {len(self.unused)}"]
        more += [f"{self.off} modules at weight 0"] if self.off else []
        more += [f"embeddings left out: {', '.join(self.embeddings)}"] if self.embeddings else []
        return f"{self.file}: {self.modules} modules merged ({parts}), norm of the change {norm:.4g}, {'; '.join(more)}"
