"""The settings of a form: what is trained, in which precision, of which size."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.training import checks

KINDS = ("delta", "full", "in_place", "lora", "lokr")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
#: Fields that only some kinds read.
_READ_BY = {
    "dtype": ("delta", "full", "lora", "lokr"),
    "rank": ("lora", "lokr"),
    "alpha": ("lora", "lokr"),
    "conv_rank": ("lora", "lokr"),
    "factor": ("lokr",),
    "seed": ("lora", "lokr"),
}


@dataclass(frozen=True)
class FormSettings:
    """What is trained.

    ``kind``:
        delta: a difference beside the frozen weights, added to them layer by layer.
        full: copies of the weights, which stand in the network while a step is made.
        in_place: the model's own weights; nothing is kept beside them, the base is on the disk alone.
        lora: products of two thin matrices (Hu et al. 2021, arXiv:2106.09685), with convolutions LyCORIS' LoCon.
        lokr: Kronecker products (Yeh et al. 2023, arXiv:2309.14859).
    ``dtype``: fp32 or bf16, of the trained tensors; in_place trains the weights in the dtype they have.
    ``rank``: of lora's products; of the larger factor of lokr, 0 for one that is not split. ``conv_rank``: the same for
    convolutions larger than 1x1; 0: these are not trained. ``alpha``: 0 is the rank; the change is multiplied by
    alpha / rank. ``factor``: lokr's smaller factor is at most this; -1: as near to the root as can be.
    ``seed``: of the first values of lora and lokr.
    """

    kind: str = "delta"
    dtype: str = "fp32"
    rank: int = 16
    alpha: float = 0.0
    conv_rank: int = 0
    factor: int = -1
    seed: int = 0

    def __post_init__(self) -> None:
        checks.choice(self, "kind", "form", KINDS)
        checks.choice(self, "dtype", "form", tuple(DTYPES))
        checks.number(self, "rank", "form", (1 if self.kind == "lora" else 0, 100_000), whole=True)
        checks.number(self, "conv_rank", "form", (0, 100_000), whole=True)
        checks.number(self, "alpha", "form", (0.0, 1e6))
        checks.number(self, "factor", "form", (-1, 100_000), whole=True)
        if self.factor == 0:
            raise BadInput("form.factor", 0, "a whole number above 0, or -1")
        checks.number(self, "seed", "form", (0, 2**63 - 1), whole=True)

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of the trained tensors."""
        return DTYPES[self.dtype]

    def notes(self) -> tuple[str, ...]:
        """Settings that differ from their defaults and have no effect with this kind."""
        inert = [name for name in checks.unused(self, tuple(_READ_BY)) if self.kind not in _READ_BY[name]]
        return tuple(f"form.{name} has no effect with {self.kind}" for name in inert)
