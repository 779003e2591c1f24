"""Sorting networks on tensors: element by element, lists of tensors are put in order by minima and maxima alone.

Batcher 1968, doi:10.1145/1468075.1468121: the odd-even merge, here for lists of any two lengths (Knuth, The Art of
Computer Programming, volume 3, 5.3.4). What is asked of a list is computed only when it is asked for: of a median all
comparisons are left out that it does not depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor


class Lazy:
    """The smaller or the larger of two values, when it is asked for."""

    __slots__ = ("_pick", "_result", "_x", "_y")

    def __init__(self, pick: Callable[[Tensor, Tensor], Tensor], x: Tensor | Lazy, y: Tensor | Lazy) -> None:
        self._pick = pick
        self._x: Tensor | Lazy | None = x
        self._y: Tensor | Lazy | None = y
        self._result: Tensor | None = None

    def value(self) -> Tensor:
        """Computed once; the two values are let go of then."""
        if self._result is None:
            assert self._x is not None and self._y is not None
            self._result = self._pick(value(self._x), value(self._y))
            self._x = self._y = None
        return self._result


Item: TypeAlias = "Tensor | Lazy"


def value(item: Item) -> Tensor:
    """The tensor itself."""
    return item.value() if isinstance(item, Lazy) else item


def merge(a: Sequence[Item], b: Sequence[Item]) -> list[Item]:
    """Two sorted lists as one."""
    if not a or not b:
        return [*a, *b]
    if len(a) == len(b) == 1:
        return [Lazy(torch.minimum, a[0], b[0]), Lazy(torch.maximum, a[0], b[0])]
    even, odd = merge(a[::2], b[::2]), merge(a[1::2], b[1::2])
    merged = [even[0]]
    paired = min(len(odd), len(even) - 1)
    for low, high in zip(odd[:paired], even[1 : paired + 1], strict=True):
        merged += [Lazy(torch.minimum, low, high), Lazy(torch.maximum, low, high)]
    return [*merged, *odd[paired:], *even[paired + 1 :]]


def merge_all(lists: Sequence[Sequence[Item]]) -> list[Item]:
    """Sorted lists as one."""
    merged = list(lists[0])
    for more in lists[1:]:
        merged = merge(merged, more)
    return merged
