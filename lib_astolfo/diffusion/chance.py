"""Random numbers that depend on seed, tensor name, model (or step) and position alone.

A counter-based generator in 32-bit integer arithmetic: no state runs on, so any range of any tensor can be asked for,
in any order, on any number of threads, and gives the same numbers on every version of torch and on every device.

Element e of a tensor lies in lane e mod 65536 of block e // 65536. Each lane has a fixed odd 32-bit word; each block
of each (seed, name, model) has two odd multipliers m and n of its own, and the number of an element is::

    x = word[lane]·m;  x = x xor (x >> 15);  x = x·n        (mod 2^32, >> with the sign)

The words are the finaliser of MurmurHash3 (Appleby, public domain) of the lane's number, the multipliers come from
BLAKE2b of (seed, model, name) through SplitMix64 (Steele, Lea and Flood 2014, figure 18) of the block's number.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Elements of a block.
LANES = 1 << 16
_MASK = (1 << 64) - 1
_TOP = 1 << 31


@dataclass(frozen=True)
class Stream:
    """The random numbers of one model's tensor.

    Attributes:
        seed: any whole number.
        key: the tensor's name.
        model: number of the model, of the step, or whatever else tells two streams of a tensor apart.
    """

    seed: int
    key: str
    model: int = 0

    @functools.cached_property
    def _root(self) -> int:
        text = f"{int(self.seed)}\0{int(self.model)}\0{self.key}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def words(self, out: Tensor, start: int = 0, scratch: Tensor | None = None) -> Tensor:
        """Fill ``out`` with the numbers of elements ``start``, ``start`` + 1, …

        Args:
            out: flat contiguous int32 tensor.
            start: first element, 0 or more.
            scratch: another of at least that size or ``LANES`` elements, overwritten.

        Returns:
            ``out``: uniform over all int32.
        """
        table = _table(str(out.device))
        at, stop = 0, out.numel()
        scratch = torch.empty_like(out[:LANES]) if scratch is None else scratch
        while at < stop:
            block, lane = divmod(start + at, LANES)
            count = min(stop - at, LANES - lane)
            _mix(table[lane : lane + count], _mixed(self._root, block), out[at : at + count], scratch[:count])
            at += count
        return out

    def uniform(self, count: int, start: int = 0, device: str | torch.device = "cpu") -> Tensor:
        """Uniform numbers in [0, 1) with 32 bits, float64 [count]."""
        words = self.words(torch.empty(count, dtype=torch.int32, device=device), start)
        return (words.double() + _TOP) / (2 * _TOP)

    def normal(self, count: int, start: int = 0) -> Tensor:
        """Standard normal numbers, float64 [count] (Box and Muller 1958)."""
        pairs = self.uniform(2 * count, 2 * start).view(count, 2)
        radius = (-2 * torch.log1p(-pairs[:, 0])).sqrt()
        return radius * torch.cos(2 * torch.pi * pairs[:, 1])


def limit(probability: float) -> int:
    """The int32 number below which a share ``probability`` of all numbers lies, to 2^-32."""
    return min(max(round(probability * 2 * _TOP) - _TOP, -_TOP), _TOP - 1)


def _mix(lanes: Tensor, multipliers: int, out: Tensor, scratch: Tensor) -> None:
    first, second = _signed(multipliers | 1), _signed((multipliers >> 32) | 1)
    torch.mul(lanes, first, out=out)
    out.bitwise_xor_(torch.bitwise_right_shift(out, 15, out=scratch)).mul_(second)


def _signed(word: int) -> int:
    word &= 2 * _TOP - 1
    return word - 2 * _TOP if word >= _TOP else word


def _mixed(root: int, block: int) -> int:
    """Output number ``block`` of SplitMix64 started at ``root``."""
    z = (root + (block + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


@functools.cache
def _table(device: str) -> Tensor:
    """The odd words of all lanes, int32 [LANES]."""
    word = torch.arange(1, LANES + 1, dtype=torch.int64)
    top = 2 * _TOP - 1
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        word = ((word ^ (word >> shift)) * factor) & top
    word = (word ^ (word >> 16)) | 1
    return torch.where(word >= _TOP, word - 2 * _TOP, word).to(torch.int32).to(device)


def word_rows(streams: Sequence[Stream], count: int) -> Tensor:
    """``words`` of many short streams at once: the first ``count`` of each, int32 [len(streams), count], CPU."""
    if count > LANES or not streams:
        rows = [each.words(torch.empty(count, dtype=torch.int32)) for each in streams]
        return torch.stack(rows) if rows else torch.empty((0, count), dtype=torch.int32)
    multipliers = [_mixed(each._root, 0) for each in streams]
    first = torch.tensor([_signed(each | 1) for each in multipliers], dtype=torch.int32)
    second = torch.tensor([_signed((each >> 32) | 1) for each in multipliers], dtype=torch.int32)
    rows = _table("cpu")[:count] * first[:, None]
    return rows.bitwise_xor_(rows >> 15).mul_(second[:, None])


def uniform_rows(streams: Sequence[Stream], count: int) -> Tensor:
    """``uniform`` of each stream, float64 [len(streams), count], CPU."""
    return (word_rows(streams, count).double() + _TOP) / (2 * _TOP)


def normal_rows(streams: Sequence[Stream], count: int) -> Tensor:
    """``normal`` of each stream, float64 [len(streams), count], CPU."""
    pairs = uniform_rows(streams, 2 * count).view(len(streams), count, 2)
    return (-2 * torch.log1p(-pairs[..., 0])).sqrt() * torch.cos(2 * torch.pi * pairs[..., 1])
