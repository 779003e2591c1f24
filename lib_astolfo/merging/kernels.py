"""Chunk arithmetic without allocation: fused half precision, reused buffers, the bit test for non-finite values.

Fresh memory is what makes merging slow (a first touch of 4 KB costs about 2 microseconds), so everything here writes
into buffers that are used again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lib_astolfo.checkpoints.dtypes import SIZES

#: dtype to the integer dtype of its bits and the mask of its exponent: all ones there means Inf or NaN.
_EXPONENT = {
    torch.float16: (torch.int16, 0x7C00),
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float32: (torch.int32, 0x7F800000),
    torch.float64: (torch.int64, 0x7FF0000000000000),
}


#: Views of buffers that are remembered.
VIEWS = 512
#: Integer dtype with the bits of a floating one.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Scratch:
    """Buffers of one thread. ``take`` hands out the next one, ``reset`` makes all of them free again.

    ``pinned``: in memory that a GPU copies from and to by itself; on the CPU only.
    """

    def __init__(self, device: torch.device | str = "cpu", *, pinned: bool = False) -> None:
        self._slots: list[Tensor] = []
        self._sizes: list[int] = []
        self._views: dict[tuple[int, int, torch.dtype], Tensor] = {}
        self._next = 0
        self._device = torch.device(device)
        self._pinned = pinned

    def reset(self, mark: int = 0) -> None:
        """Everything taken so far, or since ``mark``, may be overwritten."""
        self._next = mark

    def mark(self) -> int:
        """Says to ``reset`` what is to stay."""
        return self._next

    def give_back(self) -> None:
        """Make the buffer that was taken last free again."""
        self._next -= 1

    def take(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """An uninitialised contiguous tensor, valid until ``reset``."""
        count = math.prod(shape)
        slot, self._next = self._next, self._next + 1
        flat = self._views.get((slot, count, dtype))
        if flat is None:
            flat = self._view(slot, count, dtype)
        return flat if len(shape) == 1 else flat.view(tuple(shape))

    @property
    def device(self) -> torch.device:
        """Where the buffers are."""
        return self._device

    @property
    def nbytes(self) -> int:
        """Bytes that the buffers hold."""
        return sum(self._sizes)

    def _view(self, slot: int, count: int, dtype: torch.dtype) -> Tensor:
        """The beginning of a buffer, which is made larger if it must; making a view takes longer than finding it."""
        size = count * SIZES[dtype]
        if slot == len(self._slots):
            self._slots.append(self._allocate(size))
            self._sizes.append(size)
        elif self._sizes[slot] < size:
            self._views = {key: view for key, view in self._views.items() if key[0] != slot}
            self._slots[slot], self._sizes[slot] = self._allocate(size), size
        if len(self._views) >= VIEWS:
            self._views.clear()
        flat = self._slots[slot][:size].view(dtype)
        self._views[slot, count, dtype] = flat
        return flat

    def _allocate(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self._device, pin_memory=self._pinned)


def lerp_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float) -> None:
    """out = (1 - alpha)·a + alpha·b; for half inputs computed in fp32 and rounded once. ``out`` may be ``a``."""
    torch.lerp(a, b, alpha, out=out)


def add_difference_into(out: Tensor, a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> None:
    """out = a + (b - c)·alpha, three exactly rounded steps, so that the bits do not depend on vector widths."""
    torch.sub(b, c, out=out)
    out.mul_(alpha)
    torch.add(a, out, out=out)


@functools.cache
def half_is_exact(dtype: torch.dtype) -> bool:
    """True if this torch's ``lerp`` on CPU tensors of this half dtype computes in fp32 and rounds once.

    torch before 2.2 has no such kernel for fp16; then the engine goes through fp32 scratch and gives the same bits.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1027, generator=generator).to(dtype) for _ in range(2))
    try:
        return all(
            torch.equal(a.lerp(b, alpha), a.float().lerp(b.float(), alpha).to(dtype)) for alpha in (0.3, 0.85, -0.25)
        )
    except RuntimeError:
        return False


def all_finite(values: Tensor, scratch: Scratch) -> bool:
    """True if no value is Inf or NaN; ``values`` contiguous.

    A finite sum proves it in one pass. A sum that is not may have overflowed, so the exponent bits decide then, and at
    once for half precision, which torch before 2.2 adds up thirty times slower than it reads.
    """
    if values.numel() == 0:
        return True
    if values.dtype not in _EXPONENT:
        return not bool(values.float().isnan().any() or values.float().isinf().any())
    if values.element_size() > 2 and math.isfinite(float(values.sum())):
        return True
    integer, mask = _EXPONENT[values.dtype]
    bits = scratch.take(values.shape, integer)
    torch.bitwise_and(values.view(integer), mask, out=bits)
    return int(bits.amax()) != mask


def finite_mask(values: Tensor) -> Tensor:
    """Boolean tensor, True where a value is neither Inf nor NaN; any floating dtype."""
    return values.to(torch.float64 if values.dtype == torch.float64 else torch.float32).isfinite()


def replace_non_finite(out: Tensor, a: Tensor, also: Tensor | None = None) -> int:
    """Put A's values, clamped to what ``out`` can hold, where ``out`` is not finite; returns how many.

    Where A itself is Inf or NaN its value stays as it is. ``also``: boolean mask of further elements to take from A.
    """
    bad = ~finite_mask(out) if also is None else ~finite_mask(out) | also
    top = torch.finfo(out.dtype).max
    kept = a.to(torch.float64)[bad]
    kept = torch.where(kept.isfinite(), kept.clamp(-top, top), kept)
    bits = _BITS[out.element_size()]
    out.view(bits)[bad] = kept.to(out.dtype).view(bits)
    return int(bad.sum())
