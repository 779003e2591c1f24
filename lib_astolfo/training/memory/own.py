"""The tensors that a form trains, by shape, and the checkpoint names that it can train at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from lib_astolfo.training.forms.settings import FormSettings

Shape = tuple[int, ...]


def shapes(form: FormSettings, chosen: Iterable[str], of: Mapping[str, Shape]) -> dict[str, list[Shape]]:
    """Checkpoint name -> shapes of the trained tensors that change it; names without any are left out."""
    found = {name: _shapes(form, name, tuple(of[name])) for name in chosen}
    return {name: held for name, held in found.items() if held}


def elements(held: Mapping[str, list[Shape]]) -> int:
    """Trained numbers in all."""
    return sum(math.prod(shape) for each in held.values() for shape in each)


def _shapes(form: FormSettings, name: str, shape: Shape) -> list[Shape]:
    if form.kind not in ("lora", "lokr"):
        return [shape]
    if name.endswith("in_proj_weight"):  # three layers in one tensor
        return 3 * _adapter(form, (shape[0] // 3, *shape[1:]))
    return _adapter(form, shape) if len(shape) in (2, 4) and "embedding" not in name else []


def _adapter(form: FormSettings, shape: Shape) -> list[Shape]:
    kernel = shape[2:]
    large = math.prod(kernel) > 1
    if large and not form.conv_rank:
        return []
    rank = form.conv_rank if large else form.rank
    if form.kind == "lora":
        return [(rank, shape[1], *kernel), (shape[0], rank)]
    (a, b), (c, d) = (_sides(size, form.factor) for size in shape[:2])
    if not 0 < rank < max(b, d) / 2:
        return [(a, c), (b, d, *kernel)]
    return [(a, c), (b, rank), (rank, d, *kernel)]


def _sides(size: int, factor: int) -> tuple[int, int]:
    """A size as a product of two, the first at most ``factor`` (LyCORIS' ``factorization``); -1: as near to the root as
    can be. The first is the smaller one."""
    if factor > 0 and size % factor == 0:
        other = size // factor
        return min(factor, other), max(factor, other)
    limit = size if factor < 0 else factor
    first = max(part for part in range(1, math.isqrt(size) + 1) if size % part == 0 and part <= limit)
    return first, size // first
