"""The form that trains the model's own weights, whose base is in the file alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lib_astolfo.errors import Failed

from .form import Change, Ground, Values
from .settings import FormSettings
from .slots import Slot
from .whole import Whole


class InPlace(Whole):
    """The trained tensors lie in the memory of the model's parameters, so that the network always computes with them.

    The base is read from the model's file, for mixing and for ``discard``. Raises Failed where the weights are not what
    the file says: with a merge in them they could not be put back.
    """

    standing = 1.0

    def __init__(self, settings: FormSettings, ground: Ground, names: Iterable[str]) -> None:
        super().__init__(settings, ground, names)
        self._lie = [
            (name, slot.module._parameters, slot.attr, slot.cut(own.detach()).data_ptr() - own.data_ptr())
            for name, own in self._own.items()
            for slot in self.places.slots[name]
        ]
        for name, own in self._own.items():
            if not torch.equal(own.detach(), self.base(name)):
                text = "is not what the model's file says (a merge?); load the model anew, or choose another form"
                raise Failed(f"{name} {text}")

    def _first(self, name: str) -> Tensor:
        return self._joined(name)

    def _joined(self, name: str) -> Tensor:
        """The weight as one tensor in the memory of its parameters, which get a common one where they are several."""
        slots, shape = self.places.slots[name], self.places.shapes[name]
        if slots[0].rows is None:
            return slots[0].uncut(slots[0].parameter.detach(), shape)
        first = min(slots, key=lambda slot: slot.rows or (0, 0)).parameter.detach()
        if all(_follows(slot, first, shape) for slot in slots):
            return first.as_strided(shape, torch.empty(shape, device="meta").stride(), first.storage_offset())
        whole = self.places.standing(name)
        for slot in slots:
            slot.parameter.data = slot.cut(whole)
        return whole

    def _tie(self) -> None:
        """A host that moved the model has made new memory for its parameters."""
        for name, table, attr, offset in self._lie:
            if table[attr].data_ptr() != self._own[name].data_ptr() + offset:
                self._own[name].data = self._joined(name)

    @contextmanager
    def _standing_in(self, now: Values | None) -> Iterator[None]:
        self._tie()
        try:
            self.places.swap(now or self._own)
            yield
        finally:
            self.places.restore()

    def base(self, name: str) -> Tensor:
        """As the file has it, in the dtype of the live weight and where it is."""
        live = self.places.slots[name][0].parameter
        return self.model.source.tensor(name).to(live.device, live.dtype)

    def changes(self, name: str, values: Values | None = None) -> list[Change]:
        trained = self.places.standing(name) if not values or name not in values else values[name].detach()
        base = self.base(name)
        return [Change(trained.to(base.device, torch.float32) - base.float())]

    def _check_base(self) -> None:
        """The weights are meant to change; what they lie in is looked at by ``attached``."""

    @torch.no_grad()
    def discard(self) -> None:
        """Read the base again. Raises Failed where the file was written to meanwhile."""
        if self.model.source.changed():
            raise Failed(f"{self.model.entry.name}: the file has changed; the model must be loaded again")
        self._tie()
        for name, own in self._own.items():
            own.detach().copy_(self.base(name))
        written = getattr(self.model, "written", None)
        if written is not None:
            written(self.names, True)


def _follows(slot: Slot, first: Tensor, shape: torch.Size) -> bool:
    """Whether a slot's rows lie where they would in a tensor that begins where ``first`` does."""
    held, rows = slot.parameter, slot.rows or (0, 0)
    place = first.storage_offset() + rows[0] * (shape.numel() // shape[0])
    same = held.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
    return same and held.storage_offset() == place and held.is_contiguous()
