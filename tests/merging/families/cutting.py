"""Does to a method what the engine does: measures part by part, then the parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib_astolfo.merging.method import Method, Option, Place

COMPUTED = [
    "train_difference",
    "train_difference_mask",
    "n_average",
    "add_opposite",
    "add_strict_opposite",
    "clamp",
    "slerp",
    "add_perpendicular",
    "perpendicular_component",
    "add_cosine_a",
    "add_cosine_b",
    "geometric_sum",
    "multiply_quotient",
    "tensor_sum",
    "top_k_tensor_sum",
    "tensor",
    "tensor2",
    "crossover",
    "smooth_add",
    "cosine_a",
    "cosine_b",
    "extract",
]
#: Methods that can be computed in parts.
CUT = [name for name in COMPUTED if name not in ("top_k_tensor_sum", "crossover", "smooth_add")]


def models(count: int, shape: Sequence[int], *, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Finetunes of one base; the base is the last of three."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(tuple(shape), generator=generator) * 0.05
    changed = [base + torch.randn(tuple(shape), generator=generator) * 0.02 for _ in range(max(count, 3))]
    changed[2] = base
    return [tensor.to(dtype) for tensor in changed[:count]]


def ranges(unit: str, shape: tuple[int, ...], size: int) -> list[tuple[int, int]]:
    """First and last element of parts of about ``size`` elements."""
    count = torch.Size(shape).numel()
    if unit == "row":
        if len(shape) < 2:
            return [(0, count)]
        row = count // shape[0]
        size = row * max(1, size // row)
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def part_of(tensor: Tensor, unit: str, first: int, last: int) -> Tensor:
    """A part as a method of that unit is given it."""
    flat = tensor.reshape(-1)[first:last]
    return flat if unit == "element" or tensor.dim() < 2 else flat.view(-1, *tensor.shape[1:])


def measured(method: Method, tensors: Sequence[Tensor], size: int, **options: Option) -> tuple[Tensor, ...]:
    """The figures of whole tensors, from parts of that size."""
    values, found = method.complete(options), ()
    shape = tuple(tensors[0].shape)
    for measure in method.measures:
        if measure.skipped(values):
            found = (*found, torch.empty(0, dtype=torch.float64))
            continue
        total: Tensor | None = None
        for first, last in ranges(measure.unit, shape, size):
            parts = [part_of(tensor, measure.unit, first, last) for tensor in tensors]
            one = measure.part(*parts, place=Place("key", first, shape, found), **values)
            total = one if total is None else measure.combine(total, one)
        assert total is not None
        found = (*found, measure.result(total, Place("key", 0, shape, found), values))
    return found


def counted(method: Method, tensors: Sequence[Tensor], **options: Option) -> tuple[Tensor, ...]:
    """As ``measured`` of a whole tensor, the last figure as it is before it is finished."""
    values, found = method.complete(options), measured(method, tensors, 1 << 30, **options)
    last = method.measures[-1].part(*tensors, place=Place("key", 0, tuple(tensors[0].shape), found[:-1]), **values)
    return (*found[:-1], last)


def in_parts(
    method: Method, tensors: Sequence[Tensor], size: int, figures: tuple[Tensor, ...] = (), **options: Option
) -> Tensor:
    """The whole result, computed part by part by the method's kernel."""
    assert method.into is not None
    values = method.complete(options)
    shape = tuple(tensors[0].shape)
    out = torch.full(shape, torch.nan)
    for first, last in ranges(method.unit, shape, size):
        parts = [part_of(tensor, method.unit, first, last) for tensor in tensors]
        place = {"place": Place("key", first, shape, figures)} if method.placed else {}
        method.into(part_of(out, method.unit, first, last), *parts, **values, **place)
    return out
