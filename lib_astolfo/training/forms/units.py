"""The modules that LoRA and LoKr are trained for, by kohya's names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.lora import names as lora_names

from .slots import Slot, Slots


@dataclass(frozen=True, eq=False)
class Unit:
    """One module.

    ``name``: kohya's. ``weight``: checkpoint name of its weight. ``rows``: its rows of that tensor, None for all.
    ``shape``: of its own weight as the file has it. ``slot``: the parameter with its values. ``inside``: its rows of
    that parameter, None for all.
    """

    name: str
    weight: str
    shape: tuple[int, ...]
    slot: Slot
    rows: tuple[int, int] | None = None
    inside: tuple[int, int] | None = None

    @property
    def is_large(self) -> bool:
        """Whether it is a convolution of more than one pixel."""
        return math.prod(self.shape[2:]) > 1


def units(
    names: Iterable[str], slots: Mapping[str, Slots], shapes: Mapping[str, torch.Size], layout: Layout
) -> tuple[list[Unit], dict[str, str]]:
    """The modules of these tensors, and why the other tensors have none."""
    wanted = dict.fromkeys(names)
    found, left = [], dict.fromkeys(wanted, "a bias, norm or embedding, which is no matrix")
    for target in lora_names.modules(shapes, layout):
        shape = target.shape(shapes[target.weight])
        if target.weight not in wanted or target.transposed or len(shape) < 2 or "embedding" in target.weight:
            continue
        rows = None if target.third is None else (target.third * shape[0], shape[0])
        placed = _place(slots[target.weight], rows)
        if placed is not None:
            slot, inside = placed
            found.append(Unit(target.name, target.weight, shape, slot, rows, inside))
            left.pop(target.weight, None)
    return found, left


def _place(slots: Slots, rows: tuple[int, int] | None) -> tuple[Slot, tuple[int, int] | None] | None:
    """The one slot that has these rows, and which of its own rows they are."""
    if len(slots) == 1 and slots[0].rows is None:
        return slots[0], rows
    same = [slot for slot in slots if slot.rows == rows]
    return (same[0], None) if len(same) == 1 else None
