"""Where a checkpoint's tensors stand in the network: slots, found by shared memory.

A tensor of a checkpoint is one parameter, or several: OpenCLIP's fused ``in_proj`` stands as three where the network is
transformers' or ldm_patched's. A parameter may be a view of another shape: transposed (OpenCLIP's projection), or a
linear layer where the file has a 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib_astolfo.errors import Failed


@dataclass(frozen=True, eq=False)
class Slot:
    """A parameter of the network, and what it is of a checkpoint's tensor.

    ``rows``: first row and number of rows of that tensor, None for all of it. ``transposed``: rows and columns of these
    change places. ``shape``: the parameter's own.
    """

    module: nn.Module
    attr: str
    shape: torch.Size
    rows: tuple[int, int] | None = None
    transposed: bool = False

    @property
    def parameter(self) -> Tensor:
        """What stands there now. Raises Failed where the host has taken its model apart."""
        held = self.module._parameters[self.attr]
        if held is None:
            raise Failed(f"the host has freed the model: a {self.attr} of {type(self.module).__name__} is gone")
        return held

    def cut(self, whole: Tensor) -> Tensor:
        """The parameter's view of a tensor in the file's shape."""
        part = whole if self.rows is None else whole.narrow(0, *self.rows)
        if self.transposed:
            part = part.t()
        return part if part.shape == self.shape else part.view(self.shape)

    def uncut(self, part: Tensor, shape: torch.Size) -> Tensor:
        """The opposite: rows of the tensor of the file, whose shape is ``shape``, from the parameter's values."""
        part = part.t() if self.transposed else part
        wanted = shape if self.rows is None else torch.Size((self.rows[1], *shape[1:]))
        return part if part.shape == wanted else part.reshape(wanted)


Slots = tuple[Slot, ...]


def find(live: Mapping[str, Tensor], roots: Iterable[nn.Module]) -> dict[str, Slots]:
    """The slots of every tensor that stands whole in the modules; others are left out.

    ``live``: the tensors by name, in the file's shapes, sharing memory with the parameters.
    """
    index: dict[tuple[torch.device, int], list[tuple[nn.Module, str, Tensor]]] = {}
    for root in roots:
        for module in root.modules():
            for attr, parameter in module._parameters.items():
                if parameter is not None and parameter.numel() and not parameter.is_meta:
                    index.setdefault(_storage(parameter), []).append((module, attr, parameter))
    found = {}
    for name, tensor in live.items():
        if not tensor.numel() or tensor.is_meta:
            continue
        near = index.get(_storage(tensor), ())
        slots = [made for module, attr, held in near if (made := _slot(module, attr, held, tensor)) is not None]
        if _covers(slots, tensor.shape[0] if tensor.dim() else 1):
            found[name] = tuple(slots)
    return found


def _storage(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.untyped_storage().data_ptr()


def _slot(module: nn.Module, attr: str, held: Tensor, whole: Tensor) -> Slot | None:
    """The slot, None where the parameter is not made of whole rows of the tensor."""
    start = held.storage_offset() - whole.storage_offset()
    if held.dtype != whole.dtype or start < 0 or start + held.numel() > whole.numel():
        return None
    if held.numel() == whole.numel():
        if held.shape == whole.shape and held.stride() == whole.stride():
            return Slot(module, attr, held.shape)
        if whole.dim() == 2 and held.shape == whole.shape[::-1] and held.stride() == whole.stride()[::-1]:
            return Slot(module, attr, held.shape, transposed=True)
        fits = held.is_contiguous() and whole.is_contiguous()
        return Slot(module, attr, held.shape) if fits else None
    width = whole.numel() // whole.shape[0]
    if not (held.is_contiguous() and whole.is_contiguous()) or start % width or held.numel() % width:
        return None
    return Slot(module, attr, held.shape, (start // width, held.numel() // width))


def _covers(slots: list[Slot], rows: int) -> bool:
    """Whether all rows have a slot; parameters that are tied have one each."""
    parts = {slot.rows or (0, rows) for slot in slots}
    at = 0
    for first, count in sorted(parts):
        if first != at:
            return False
        at += count
    return bool(parts) and at == rows
