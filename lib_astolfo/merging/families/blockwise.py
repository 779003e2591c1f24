"""Arithmetic in blocks that stay in the processor's cache, and entries made of it.

A method's arithmetic is written once, as ``into(out, *tensors, **options)``: a row of in-place operations on blocks,
each of them rounded by itself, so that a value does not depend on where in a part it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.merging.method import Method, Place

#: Elements of a block on the CPU: 512 KB in fp32, so that a few buffers stay in its cache, and yet an operation takes
#: so long that two threads seldom wait for Python's lock. A GPU takes a part whole.
BLOCK = 1 << 17

#: Added to where a quotient of two values that are both zero is to be zero: the smallest normal fp32 number.
TINY = torch.finfo(torch.float32).tiny

#: Sums of squares below this may have lost some of their terms to underflow in float32.
_SMALL = 1e-20


def blocks(
    *tensors: Tensor, spare: int = 0, dtype: torch.dtype | None = None, size: int = BLOCK
) -> Iterator[list[Tensor]]:
    """Walk through tensors of one number of elements.

    Args:
        tensors: contiguous.
        spare: number of uninitialised buffers that come with each block, the same in every step.
        dtype: of the buffers; None as the first tensor.
        size: elements of a block on the CPU.

    Yields:
        flat views of the next elements of each tensor, then the buffers, all of one length.
    """
    first = tensors[0]
    size = max(1, size if first.device.type == "cpu" else first.numel())
    buffers = [
        torch.empty(min(size, first.numel()), dtype=dtype or first.dtype, device=first.device) for _ in range(spare)
    ]
    for parts in zip(*(tensor.view(-1).split(size) for tensor in tensors), strict=True):
        if buffers and len(parts[0]) < len(buffers[0]):
            buffers = [buffer[: len(parts[0])] for buffer in buffers]
        yield [*parts, *buffers]


def function_of(into: Callable[..., None]) -> Callable[..., Tensor]:
    """The plain function of a kernel: half precision is computed in fp32 and rounded once."""

    def function(*tensors: Tensor, **options: Any) -> Tensor:
        first = tensors[0]
        dtype = torch.promote_types(first.dtype, torch.float32)
        inputs = [tensor.to(dtype).contiguous() for tensor in tensors]
        out = torch.empty(first.shape, dtype=dtype, device=first.device)
        if "place" in options:
            options["place"] = placed(options["place"], first)
        into(out, *inputs, **options)
        return out.to(first.dtype)

    function.__doc__ = into.__doc__
    return function


def placed(place: Place, part: Tensor) -> Place:
    """The place with the shape of the whole tensor filled in."""
    return place if place.shape is not None else replace(place, shape=tuple(part.shape))


def entry(name: str, into: Callable[..., None], inputs: Sequence[str], **rest: Any) -> Method:
    """A method whose function is its kernel."""
    return Method(name=name, function=function_of(into), inputs=tuple(inputs), into=into, **rest)


def dots(a: Tensor, b: Tensor) -> Tensor:
    """‖a‖², ⟨a, b⟩ and ‖b‖² of contiguous tensors; float64 [3].

    Float32 blocks are multiplied in float32, to about 1e-6, and added up in float64; other dtypes, and values whose
    squares come near the ends of float32, all in float64.
    """
    found = _dots(a, b, wide=a.dtype != torch.float32)
    if all(math.isfinite(square) and square > _SMALL for square in (found[0], found[2])):
        return torch.tensor(found, dtype=torch.float64, device=a.device)
    return torch.tensor(_dots(a, b, wide=True), dtype=torch.float64, device=a.device)


def _dots(a: Tensor, b: Tensor, *, wide: bool) -> tuple[float, float, float]:
    aa = ab = bb = 0.0
    for part_a, part_b in blocks(a, b):
        x, y = (part_a.double(), part_b.double()) if wide else (part_a, part_b)
        aa += float(x.dot(x))
        ab += float(x.dot(y))
        bb += float(y.dot(y))
    return aa, ab, bb


def combine_into(out: Tensor, a: Tensor, b: Tensor, of_a: float, of_b: float) -> None:
    """out = of_a·a + of_b·b."""
    for to, part_a, part_b in blocks(out, a, b):
        torch.mul(part_a, of_a, out=to).add_(part_b, alpha=of_b)
