"""Whether the weights below a training are still those it began with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lib_astolfo.errors import Failed

from .slots import Slot, Slots

#: Values looked at of each parameter; parameters looked at in each turn though nothing says that they changed.
SAMPLES = 16
IN_TURN = 32

Sign = tuple[int, int, int]


class Witness:
    """Remembers where the parameters lie, how often they were written to, and some of their values.

    A host may move weights: then the values decide. Writing through ``.data`` leaves no trace but the values, which are
    compared for some of the parameters in each turn.
    """

    def __init__(self, slots: dict[str, Slots]) -> None:
        self._slots = [(name, slot) for name, held in slots.items() for slot in held]
        self._signs = [_sign(slot) for _, slot in self._slots]
        self._values = _values(slot for _, slot in self._slots)
        self._turn = 0

    def check(self) -> None:
        """Raises Failed for the first parameter that holds something else."""
        signs = [_sign(slot) for _, slot in self._slots]
        odd = {at for at, (now, before) in enumerate(zip(signs, self._signs, strict=True)) if now != before}
        count = len(signs)
        odd.update((self._turn + step) % count for step in range(min(IN_TURN, count)))
        self._turn = (self._turn + IN_TURN) % max(count, 1)
        looked = sorted(odd)
        for at, now in zip(looked, _values(self._slots[at][1] for at in looked), strict=True):
            if not torch.equal(now, self._values[at]):
                text = "holds other values than when the training began: something wrote into the model"
                raise Failed(f"{self._slots[at][0]} {text}; load it again and resume from the checkpoint")
        self._signs = signs


def _sign(slot: Slot) -> Sign:
    held = slot.parameter
    version = -1 if held.is_inference() else held._version
    return id(held), held.data_ptr(), version


def _values(slots: Iterable[Slot]) -> list[Tensor]:
    """Some values of each, on the processor, bit for bit; one transfer for each dtype and device."""
    groups: dict[tuple[torch.dtype, torch.device], list[tuple[int, Tensor]]] = {}
    found: list[Tensor] = []
    for at, slot in enumerate(slots):
        held = slot.parameter.detach()
        flat = (held if held.is_contiguous() else held.t() if held.dim() == 2 else held.contiguous()).reshape(-1)
        step = max(1, flat.numel() // SAMPLES)
        groups.setdefault((held.dtype, held.device), []).append((at, flat[::step][: SAMPLES + 1]))
        found.append(flat)
    for parts in groups.values():
        whole = torch.cat([part for _, part in parts]).cpu()
        pieces = whole.split([part.numel() for _, part in parts])
        for (at, _), piece in zip(parts, pieces, strict=True):
            found[at] = piece.clone().view(torch.uint8)
    return found
