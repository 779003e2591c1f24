"""Random draws that depend on (seed, purpose, keys) alone: no state runs on, so a run resumes anywhere bit-exactly.

BLAKE2b of the values is the generator; the same numbers on every platform, Python version and number of processes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

Key: TypeAlias = int | str
T = TypeVar("T")
_BITS = 53


def uniform(seed: int, purpose: str, *keys: Key) -> float:
    """A number in [0, 1), a multiple of 2^-53."""
    return _word(seed, purpose, keys) / (1 << _BITS)


def whole(below: int, seed: int, purpose: str, *keys: Key) -> int:
    """A whole number from 0 to ``below`` - 1 (biased by at most ``below`` · 2^-53)."""
    return _word(seed, purpose, keys) * below >> _BITS


def order(count: int, seed: int, purpose: str, *keys: Key) -> list[int]:
    """A permutation of 0 … ``count`` - 1, all equally likely."""
    return sorted(range(count), key=lambda index: (_word(seed, purpose, (*keys, index)), index))


def weighted_order(weights: Sequence[float], seed: int, purpose: str, *keys: Key) -> list[int]:
    """A permutation drawn one by one without replacement, each with chances in proportion to the positive weights
    (Efraimidis and Spirakis 2006, the exponential form). Equal weights give ``order``."""
    if len(set(weights)) < 2:
        return order(len(weights), seed, purpose, *keys)

    def wait(index: int) -> tuple[float, int]:
        return -math.log1p(-uniform(seed, purpose, *keys, index)) / weights[index], index

    return sorted(range(len(weights)), key=wait)


def _word(seed: int, purpose: str, keys: Sequence[Key]) -> int:
    # The type stands beside each value, so that 1 and "1" differ, and lengths keep neighbours apart.
    parts = [f"{int(seed)}", purpose, *(f"i{key}" if isinstance(key, int) else f"s{key}" for key in keys)]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> (64 - _BITS)
