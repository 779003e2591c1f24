"""Inner products of several models' tensors, and of their differences: one streamed pass, sums in float64.

All distances, cosines and norms that compare models come from these. Memory does not grow with the models' sizes; the
figures do not depend on the number of threads, because a tensor is summed by one of them in fixed parts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_astolfo.checkpoints.dtypes import SIZES
from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.merging.workers import Progress, work_off

Row = Mapping[int, float]

_NUMBERS = 1 << 19  # of all buffers of a thread together: they stay in the processor's cache
_LEAST, _MOST = 1 << 13, 1 << 17  # elements of a part
_FEW = 5  # vectors up to which pairs are multiplied one by one
_DIRECT = (torch.float64, torch.int64, torch.int32)  # what float32 cannot hold


@dataclass(frozen=True)
class Gram:
    """Vectors over ``elements`` places: ``products`` [k, k] are their inner products, ``largest`` [k] the largest
    magnitudes (0 where they were not asked for). Not finite where a value is not."""

    elements: int
    products: Tensor
    largest: Tensor

    def __add__(self, other: Gram) -> Gram:
        """The same over both places together."""
        return Gram(
            self.elements + other.elements,
            self.products + other.products,
            torch.maximum(self.largest, other.largest),
        )

    @staticmethod
    def empty(count: int) -> Gram:
        """Of no places."""
        return Gram(0, torch.zeros(count, count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64))

    @property
    def finite(self) -> bool:
        return bool(self.products.isfinite().all())


def difference(a: int, b: int) -> Row:
    """The vector model a minus model b."""
    return {a: 1.0, b: -1.0}


def grams(
    files: Sequence[CheckpointFile],
    rows: Sequence[Row],
    names: Sequence[str],
    *,
    threads: int = 2,
    largest: Collection[int] = (),
    progress: Progress | None = None,
) -> dict[str, Gram]:
    """One Gram for each tensor.

    Args:
        files: the models.
        rows: each vector as factors of models, by their place in ``files``; empty for zeros.
        names: tensors that all files have in one shape.
        threads: worker threads; the figures do not depend on it.
        largest: rows whose largest magnitudes are wanted too.
        progress: called with bytes begun and bytes in all; may raise to stop.

    Raises:
        Failed: a file cannot be read.
    """
    items = [_Item(name, tuple(file.tensors[name] for file in files)) for name in names]
    items.sort(key=lambda item: item.infos[0].begin)
    found: dict[str, Gram] = {}

    def make_worker() -> Callable[[_Item], None]:
        summer = _Summer(files, rows, largest)

        def work(item: _Item) -> None:
            found[item.name] = summer.gram(item)

        return work

    work_off(items, make_worker, threads=threads, progress=progress, text=f"comparing {len(files)} models")
    return {name: found[name] for name in names}


@dataclass(frozen=True)
class _Item:
    name: str
    infos: tuple[TensorInfo, ...]

    @property
    def nbytes(self) -> int:
        return sum(info.nbytes for info in self.infos)


class _Summer:
    """One thread's buffers: stored bytes, float32, and float64 rows of models and vectors."""

    def __init__(self, files: Sequence[CheckpointFile], rows: Sequence[Row], largest: Collection[int]) -> None:
        self._files, self._rows, self._largest = files, rows, largest
        self.size = max(_LEAST, min(_MOST, _NUMBERS // (len(files) + len(rows))))
        self._raw = torch.empty(self.size * 8, dtype=torch.uint8)
        self._single = torch.empty(self.size)
        self._models = torch.empty(len(files), self.size, dtype=torch.float64)
        self._vectors = torch.empty(len(rows) * self.size, dtype=torch.float64)

    def gram(self, item: _Item) -> Gram:
        """The sums over a whole tensor."""
        elements = item.infos[0].elements
        products, largest = Gram.empty(len(self._rows)).products, Gram.empty(len(self._rows)).largest
        for first in range(0, elements, self.size):
            count = min(self.size, elements - first)
            for index, info in enumerate(item.infos):
                self._load(index, info, first, count)
            vectors = self._combine(count)
            products += _products(vectors)
            if self._largest:
                largest = torch.maximum(largest, _largest(vectors, self._largest))
        return Gram(elements, products, largest)

    def _load(self, index: int, info: TensorInfo, first: int, count: int) -> None:
        size = SIZES[info.dtype]
        part = self._raw[: count * size].view(info.dtype)
        self._files[index].read_into(part, info.begin + first * size)
        if info.dtype in _DIRECT:
            self._models[index, :count].copy_(part)
        else:
            self._models[index, :count].copy_(self._single[:count].copy_(part))

    def _combine(self, count: int) -> list[Tensor]:
        """The vectors [count] each; a model that is one itself is not copied."""
        vectors = []
        for index, row in enumerate(self._rows):
            first, *rest = row.items() or ((0, 0.0),)
            model = self._models[first[0], :count]
            if first[1] == 1.0 and not rest:
                vectors.append(model)
                continue
            vector = self._vectors[index * count : (index + 1) * count]
            if len(rest) == 1 and (first[1], rest[0][1]) == (1.0, -1.0):
                torch.sub(model, self._models[rest[0][0], :count], out=vector)
            else:
                torch.mul(model, first[1], out=vector)
                for other, factor in rest:
                    vector.add_(self._models[other, :count], alpha=factor)
            vectors.append(vector)
        return vectors


def _products(vectors: Sequence[Tensor]) -> Tensor:
    """All inner products; few by pairs, which reads each vector from the cache, many by one product of matrices."""
    count = len(vectors)
    if count > _FEW:
        matrix = torch.stack(list(vectors))
        return matrix @ matrix.T
    found = {(i, j): float(torch.dot(vectors[i], vectors[j])) for i in range(count) for j in range(i, count)}
    pairs = [[found[min(i, j), max(i, j)] for j in range(count)] for i in range(count)]
    return torch.tensor(pairs, dtype=torch.float64)


def _largest(vectors: Sequence[Tensor], wanted: Collection[int]) -> Tensor:
    """The largest magnitude of those wanted; row by row, which is ten times faster than along a dimension."""
    found = torch.zeros(len(vectors), dtype=torch.float64)
    for index in wanted:
        low, high = torch.aminmax(vectors[index])
        found[index] = torch.maximum(-low, high)
    return found
