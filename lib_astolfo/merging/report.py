"""What a merge did, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.merging.lora.report import LoraReport


@dataclass(frozen=True)
class Report:
    """The outcome of a merge to a file or into loaded weights.

    Attributes:
        merged: number of keys computed from more than one model.
        copied: key to the reason why it was taken unmerged from one model.
        left_out: key to the reason why a model's key is not in the output.
        non_finite: key to the number of values replaced by A's because they were not finite.
        sampling: how the result is to be sampled.
        notes: what people should know: clashes, decisions, replaced values.
        bytes: size of the output, or of the weights written.
        seconds: wall time.
        loras: what became of each LoRA of the recipe.
    """

    merged: int
    copied: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    non_finite: Mapping[str, int] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    notes: tuple[str, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    loras: tuple[LoraReport, ...] = ()

    @property
    def only_in_b(self) -> tuple[str, ...]:
        """Keys that A does not have and that were left out."""
        return tuple(self.left_out)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "merged": self.merged,
            "copied": dict(self.copied),
            "left_out": dict(self.left_out),
            "non_finite": dict(self.non_finite),
            "sampling": self.sampling.to_dict(),
            "notes": list(self.notes),
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "loras": [lora.to_dict() for lora in self.loras],
        }

    def summary(self) -> str:
        """One line for people."""
        rate = self.bytes / max(self.seconds, 1e-9) / 1e9
        return (
            f"{self.merged} keys merged, {_modules(self.loras)}{len(self.copied)} copied, "
            f"{len(self.left_out)} left out, "
            f"{self.bytes / 1e9:.2f} GB in {self.seconds:.1f} s ({rate:.2f} GB/s), "
            f"sampled as {self.sampling.describe()}"
        )


def _modules(loras: tuple[LoraReport, ...]) -> str:
    return f"{sum(lora.modules for lora in loras)} modules of {len(loras)} LoRA files among them, " if loras else ""
