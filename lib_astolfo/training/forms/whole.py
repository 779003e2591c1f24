"""Forms that train whole weights: copies beside the model's, or a difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .form import Change, Form, Ground, Values
from .layers import Cell, replacing, sort_out, total
from .places import around
from .settings import FormSettings
from .slots import Slot


class Whole(Form):
    """One trained tensor for each checkpoint name, under that name and in the file's shape."""

    def __init__(self, settings: FormSettings, ground: Ground, names: Iterable[str]) -> None:
        super().__init__(settings, ground, names, {})
        with torch.inference_mode(False), torch.no_grad():
            self._own = {name: nn.Parameter(self._first(name)) for name in self.names}

    def _first(self, name: str) -> Tensor:
        """The first values of a trained tensor: a copy of the weight."""
        return self.base(name).to(self.settings.torch_dtype, copy=True)

    def trainables(self) -> dict[str, nn.Parameter]:
        return dict(self._own)

    def sources(self) -> dict[str, str]:
        return {name: name for name in self._own}

    def _trained(self, name: str, values: Values | None) -> Tensor:
        return (values[name] if values and name in values else self._own[name]).detach()


class Full(Whole):
    """Copies of the weights, which stand in the network's places while a step is made."""

    @contextmanager
    def _standing_in(self, now: Values | None) -> Iterator[None]:
        try:
            self.places.swap(now or self._own)
            yield
        finally:
            self.places.restore()

    def changes(self, name: str, values: Values | None = None) -> list[Change]:
        base = self.base(name)
        return [Change(self._trained(name, values).to(base.device, torch.float32) - base.float())]


class Delta(Whole):
    """A difference beside the frozen weights: W = W0 + delta, layer by layer, in the forward pass."""

    def __init__(self, settings: FormSettings, ground: Ground, names: Iterable[str]) -> None:
        super().__init__(settings, ground, names)
        self._layers, self._loose = sort_out(self.places.slots, self.names, self.network)
        self._own_forwards = list(replacing(self._cells(self._own)))

    def _first(self, name: str) -> Tensor:
        device = self.places.slots[name][0].parameter.device
        return torch.zeros(self.places.shapes[name], dtype=self.settings.torch_dtype, device=device)

    def _cells(self, now: Values) -> dict[nn.Module, list[Cell]]:
        cells: dict[nn.Module, list[Cell]] = {}
        for module, held in self._layers.items():
            cells[module] = [(slot, _Adding(slot, now[name])) for slot, name in held]
        return cells

    @contextmanager
    def _standing_in(self, now: Values | None) -> Iterator[None]:
        tensors = now or self._own
        loose = {name: total(self.places.standing(name), tensors[name]) for name in self._loose}
        try:
            self.places.swap(loose)
            with around(self._own_forwards if now is None else replacing(self._cells(now))):
                yield
        finally:
            self.places.restore()

    def changes(self, name: str, values: Values | None = None) -> list[Change]:
        return [Change(self._trained(name, values).float())]


class _Adding:
    """Adds a part of a difference to the parameter of a slot."""

    def __init__(self, slot: Slot, delta: Tensor) -> None:
        self._slot, self._delta = slot, delta

    def __call__(self, parameter: Tensor) -> Tensor:
        return total(parameter, self._slot.cut(self._delta))
