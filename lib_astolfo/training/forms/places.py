"""Other tensors in the place of parameters, and forwards around modules, always put back.

The parameters themselves are never touched: their place in the module's table is lent to another tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .slots import Slot, Slots

Forward = Callable[..., Any]
Around = tuple[nn.Module, Callable[[Forward], Forward]]
"""A module, and what makes its new forward of the one it has."""

Entry = tuple[dict[str, Any], str, Callable[[Tensor], Tensor] | None]
"""The table and name of a parameter, and what cuts it from the file's tensor where it is another view."""


class Places:
    """The slots of tensors by name, with their shapes in the file."""

    def __init__(self, slots: Mapping[str, Slots], shapes: Mapping[str, torch.Size]) -> None:
        self.slots = dict(slots)
        self.shapes = {name: torch.Size(shapes[name]) for name in slots}
        self._entries = {name: [_entry(slot, self.shapes[name]) for slot in held] for name, held in slots.items()}
        self._held: list[tuple[dict[str, Any], str, Tensor]] = []

    @property
    def lent(self) -> bool:
        """Whether other tensors stand in any place."""
        return bool(self._held)

    def standing(self, name: str) -> Tensor:
        """What stands there now, in the file's shape; of the same memory where the tensor is one parameter."""
        slots, shape = self.slots[name], self.shapes[name]
        if slots[0].rows is None:
            return slots[0].uncut(slots[0].parameter.detach(), shape)
        by_row = {slot.rows: slot for slot in slots if slot.rows is not None}
        return torch.cat([by_row[rows].uncut(by_row[rows].parameter.detach(), shape) for rows in sorted(by_row)])

    def swap(self, tensors: Mapping[str, Tensor], *, parameters: bool = False) -> None:
        """Put tensors (file's shapes) into the places of these names.

        ``parameters``: as parameters without gradients, which a host can move to another device; else as they are, for
        gradients to flow.
        """
        for name, tensor in tensors.items():
            for table, attr, cut in self._entries[name]:
                part = tensor if cut is None else cut(tensor)
                self._held.append((table, attr, table[attr]))
                table[attr] = nn.Parameter(part, requires_grad=False) if parameters else part

    def restore(self) -> None:
        """The parameters themselves again; those whose module was moved meanwhile go to its device."""
        while self._held:
            table, attr, own = self._held.pop()
            lent = table[attr]
            if lent is not None and lent.device != own.device and not lent.is_meta:
                own.data = own.data.to(lent.device)
            table[attr] = own


def _entry(slot: Slot, shape: torch.Size) -> Entry:
    plain = slot.rows is None and not slot.transposed and slot.shape == shape
    return slot.module._parameters, slot.attr, None if plain else slot.cut


@contextmanager
def around(forwards: Iterable[Around]) -> Iterator[None]:
    """New forwards on these modules, as attributes of the instances; what they had before is put back."""
    held: list[tuple[dict[str, Any], tuple[Forward, ...]]] = []
    try:
        for module, make in forwards:
            table = module.__dict__
            made = make(module.forward)
            held.append((table, (table["forward"],) if "forward" in table else ()))
            table["forward"] = made
        yield
    finally:
        for table, before in reversed(held):
            if before:
                table["forward"] = before[0]
            else:
                table.pop("forward", None)
