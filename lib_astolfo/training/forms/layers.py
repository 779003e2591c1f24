"""Weights computed where a layer reads them: W0 and a change, anew in each forward pass of the layer.

So that no second copy of all weights is held: in a checkpointed block the sum lives as long as the layer's turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .network import Network, autocasts, reader
from .places import Around, Forward
from .slots import Slot, Slots

Cell = tuple[Slot, Callable[[Tensor], Tensor]]
"""A slot, and what makes the weight to compute with of the parameter in it."""


def sort_out(
    slots: Mapping[str, Slots], names: Iterable[str], network: Network
) -> tuple[dict[nn.Module, list[tuple[Slot, str]]], list[str]]:
    """Slots with their names by the module that reads them, and the names that may be read from anywhere."""
    layers: dict[nn.Module, list[tuple[Slot, str]]] = {}
    loose = []
    for name in names:
        readers = [(slot, reader(slot.module, network)) for slot in slots[name]]
        if any(module is None for _, module in readers):
            loose.append(name)
            continue
        for slot, module in readers:
            assert module is not None
            layers.setdefault(module, []).append((slot, name))
    return layers, loose


def replacing(cells: Mapping[nn.Module, list[Cell]]) -> Iterator[Around]:
    """Forwards that put computed weights into the slots for as long as they run."""
    for module, held in cells.items():
        yield module, _Replacing(held)


class _Replacing:
    def __init__(self, cells: list[Cell]) -> None:
        self._cells = [(slot.module._parameters, slot.attr, make) for slot, make in cells]

    def __call__(self, original: Forward) -> Forward:
        cells: list[tuple[dict[str, Any], str, Callable[[Tensor], Tensor]]] = self._cells

        def forward(*args: Any, **kwargs: Any) -> Any:
            own = [table[attr] for table, attr, _ in cells]
            try:
                for (table, attr, make), parameter in zip(cells, own, strict=True):
                    table[attr] = make(parameter)
                return original(*args, **kwargs)
            finally:
                for (table, attr, _), parameter in zip(cells, own, strict=True):
                    table[attr] = parameter

        return forward


def total(base: Tensor, change: Tensor) -> Tensor:
    """Their sum in the wider dtype; in the base's, where autocast does not choose it."""
    found = base + change
    return found if found.dtype == base.dtype or autocasts(base.device) else found.to(base.dtype)


def widening(network: Network) -> Iterator[Around]:
    """Norms of half precision on the processor, which has no autocast for them: it takes parameters in float32 only
    where the input is in another precision."""
    for module in network.norms:
        held = module._parameters.get("weight")
        if held is not None and held.device.type == "cpu" and held.dtype in (torch.float16, torch.bfloat16):
            slots = [Slot(module, attr, one.shape) for attr, one in module._parameters.items() if one is not None]
            yield module, _Replacing([(slot, _wide) for slot in slots])


def _wide(parameter: Tensor) -> Tensor:
    return parameter.float() if autocasts(parameter.device) else parameter
