"""Bytes of what an optimiser keeps for tensors of given shapes, as ``optim.rules`` makes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from lib_astolfo.training.optim.eight_bit import SMALLEST

Shape = tuple[int, ...]
FULL = 4  # bytes of float32, in which all states are
BLOCK = 256  # elements that share one float32 scale in bitsandbytes (functional.py, optimizer_update_8bit_blockwise)


def _times(count: int) -> Callable[[Shape], int]:
    return lambda shape: count * FULL * math.prod(shape)


def _eight_bit(shape: Shape) -> int:
    """Two moments of a byte with a scale for each block; small tensors have them in float32."""
    size = math.prod(shape)
    if size < SMALLEST:
        return 2 * FULL * size
    return 2 * (size + FULL * -(-size // BLOCK))


def _factored(shape: Shape) -> int:
    """A row and a column of the matrix [out, rest]; all of a vector."""
    if len(shape) < 2:
        return FULL * math.prod(shape)
    return FULL * (shape[0] + math.prod(shape[1:]))


#: Optimiser -> bytes of the state of a tensor.
STATES: dict[str, Callable[[Shape], int]] = {
    "adamw": _times(2),
    "adamw8bit": _eight_bit,
    "adafactor": _factored,
    "lion": _times(1),
    "prodigy": _times(4),
}


def state(optimiser: str, shapes: Iterable[Shape]) -> int:
    """Bytes for all tensors. Raises KeyError for an optimiser that there is not."""
    size = STATES[optimiser]
    return sum(size(shape) for shape in shapes)
