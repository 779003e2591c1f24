"""Deltas of one tensor, tile by tile: dropped at random, cut to the largest, cut to the elected sign."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lib_astolfo.diffusion import chance
from lib_astolfo.merging import ranks
from lib_astolfo.merging.method import Place

#: Elements of a tile at most, and of the scratch of all models together: what stays in a processor's cache.
TILE = 1 << 17
ALL_MODELS = 1 << 19
SMALLEST = 1 << 13


class Source(Protocol):
    """Gives the deltas that a merge starts from."""

    def take(self, model: int, delta: Tensor, start: int, out: Tensor) -> Tensor:
        """The delta of a model, thinned: ``out``, or ``delta`` itself if nothing is taken off.

        Args:
            model: number of the model.
            delta: flat float32 elements.
            start: number of the first of them in the tensor.
            out: of the same size.
        """
        ...


class Whole:
    """The deltas as they are."""

    def take(self, model: int, delta: Tensor, start: int, out: Tensor) -> Tensor:
        return delta


class Dropped:
    """Deltas without a random share of their elements; the rest as it is.

    Element e of model i is kept where number e of the stream (seed, key, i) is below a limit: ``limit`` for all, or
    that of the magnitude's bin in ``table``, int32 [models, ranks.UPPER].
    """

    def __init__(self, seed: int, key: str, count: int, limit: int, table: Tensor | None = None) -> None:
        self._streams = [chance.Stream(seed, key, model) for model in range(count)]
        self._limit = limit
        self._table = table
        self._scratch: list[Tensor] = []

    def take(self, model: int, delta: Tensor, start: int, out: Tensor) -> Tensor:
        words, other, limits = self._buffers(delta)
        self._streams[model].words(words, start, other)
        if self._table is None:
            words.lt_(self._limit)
        else:
            torch.index_select(self._table[model], 0, ranks.upper_bits(delta, other), out=limits)
            words.lt_(limits)
        return torch.mul(delta, words, out=out)

    def _buffers(self, delta: Tensor) -> list[Tensor]:
        if not self._scratch or self._scratch[0].numel() < delta.numel():
            self._scratch = [torch.empty(delta.shape, dtype=torch.int32, device=delta.device) for _ in range(3)]
        return [buffer[: delta.numel()] for buffer in self._scratch]


@dataclass(frozen=True)
class Thinning:
    """What happens to the deltas of one tensor before they are summed.

    Attributes:
        source: gives the deltas.
        lambdas: for each model, the magnitude that is just not kept; empty keeps all.
        vote_sgn: each delta votes for the sign with its sign alone, not with its magnitude.
    """

    source: Source
    lambdas: tuple[float, ...] = ()
    vote_sgn: bool = False

    def cut(self, deltas: Sequence[Tensor], start: int, rows: Tensor) -> list[Tensor]:
        """The thinned deltas of a tile before the election, in ``rows`` [models, elements] or as they came."""
        found = []
        for model, (delta, row) in enumerate(zip(deltas, rows, strict=True)):
            taken = self.source.take(model, delta, start, row)
            if self.lambdas and self.lambdas[model] >= 0:
                taken = torch.hardshrink(taken, self.lambdas[model], out=row)
            found.append(taken)
        return found

    def elected(self, deltas: Sequence[Tensor], start: int, rows: Tensor, sign: Tensor) -> None:
        """Fill ``rows`` with the magnitudes of what has the elected sign, 0 elsewhere, and ``sign`` with that sign.

        ``rows[i]·sign`` are model i's filtered deltas.
        """
        thinned = self.cut(deltas, start, rows)
        if self.vote_sgn:
            torch.sign(thinned[0], out=sign)
            vote = torch.empty_like(sign)
            for delta in thinned[1:]:
                sign.add_(torch.sign(delta, out=vote))
        else:
            add_up(thinned, sign)
        sign.sign_()
        for delta, row in zip(thinned, rows, strict=True):
            torch.mul(delta, sign, out=row).clamp_(min=0)


def add_up(terms: Sequence[Tensor], out: Tensor) -> Tensor:
    """``out`` = the sum of the terms, added in their order."""
    if len(terms) == 1:
        return out.copy_(terms[0])
    torch.add(terms[0], terms[1], out=out)
    for term in terms[2:]:
        out.add_(term)
    return out


def tiles(deltas: Sequence[Tensor], start: int, row: int = 0) -> Iterator[tuple[int, int]]:
    """First and last element of each tile of a part.

    Args:
        deltas: of all models.
        start: number of the part's first element in the tensor.
        row: tiles are whole rows of this length; 0: any cut, at multiples of the random numbers' blocks.
    """
    total = deltas[0].numel()
    size = min(TILE, max(SMALLEST, ALL_MODELS // len(deltas)))
    if deltas[0].device.type != "cpu":
        size = max(size, total)
    if row:
        size, first = max(row, size // row * row), 0
    else:
        size = 1 << (size.bit_length() - 1)
        first = start % size
    at = 0
    while at < total:
        stop = min(total, at + size - (first if at == 0 else 0))
        yield at, stop
        at = stop


def flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Contiguous flat float32 views or copies."""
    return [tensor.to(torch.float32).contiguous().view(-1) for tensor in tensors]


def last_dimension(tensor: Tensor, place: Place) -> int:
    """Length of the last dimension of the whole tensor, 1 for a scalar."""
    shape = tuple(tensor.shape) if place.shape is None else place.shape
    return shape[-1] if shape else 1
