"""Weights that are made on the way: sums of a base and a difference, and casts to the dtype of autocast.

Convolutions and linear layers keep the weight they used for the backward pass; one that was made for it is memory. In a
checkpointed block it lives as long as the block is computed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib_astolfo.training.memory.estimate import Choice, Standing

#: The block that is computed again, by the place of a tensor: a ResBlock, or one block of a transformer.
_BLOCK = re.compile(
    r"(.*?\.(?:\d+\.\d+|middle_block\.\d+))\.(in_layers|out_layers|emb_layers|skip_connection|transformer_blocks\.\d+)\."
)


def block_of(name: str) -> str:
    """The checkpointed block of a tensor, "" for one outside."""
    found = _BLOCK.match(name)
    if found is None:
        return ""
    return found[1] + ("" if "layers" in found[2] or "skip" in found[2] else found[2])


class Copies:
    """``size``: bytes of an element of the trained tensors."""

    def __init__(self, standing: Standing, choice: Choice, size: int) -> None:
        self.standing, self.choice, self.size = standing, choice, size

    def bytes(self, trained: Iterable[str]) -> int:
        """At the most."""
        names = set(trained)
        inside: dict[str, int] = {}
        outside = 0
        for name in self.standing.part("unet"):
            made = self._made(name, name in names)
            block = block_of(name) if self.choice.checkpointing else ""
            if block:
                inside[block] = inside.get(block, 0) + made
            else:
                outside += made
        largest = self._sum(names)
        return outside + max(inside.values(), default=0) + largest

    def _made(self, name: str, trained: bool) -> int:
        """Bytes of a copy of this weight that the backward pass needs, 0 where the weight itself is used."""
        shape = self.standing.shapes[name]
        if len(shape) < 2:
            return 0
        used = self._used(name, trained)
        compute = self.choice.compute
        if compute and used != compute:
            return compute * math.prod(shape)
        return used * math.prod(shape) if trained and self.choice.form.kind == "delta" else 0

    def _used(self, name: str, trained: bool) -> int:
        """Bytes of an element of the weight that the layer reads, before autocast."""
        live = self.standing.size(name)
        if not trained or self.choice.form.kind in ("lora", "lokr", "in_place"):
            return live
        if self.choice.form.kind == "full":
            return self.size
        return max(live, self.size) if self.choice.compute else live

    def _sum(self, names: Iterable[str]) -> int:
        """The largest sum of a base and a difference, before it is cast."""
        if self.choice.form.kind != "delta":
            return 0
        shapes: Mapping[str, tuple[int, ...]] = self.standing.shapes
        wide = (max(self.standing.size(name), self.size) * math.prod(shapes[name]) for name in names)
        return max(wide, default=0)
