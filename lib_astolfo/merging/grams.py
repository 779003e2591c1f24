"""Inner products of several models' tensors, and of their differences: one streamed pass, sums in float64.

All distances, cosines and norms that compare models come from these. Memory does not grow with the models' sizes; the
figures do not depend on the number of threads, because a tensor is summed by one of them in fixed parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
_FEW = 4  # vectors up to which pairs are multiplied one by one
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
    largest: bool = False,
    progress: Progress | None = None,
) -> dict[str, Gram]:
    """One Gram for each tensor.

    Args:
        files: the models.
        rows: each vector as factors of models, by their place in ``files``; empty for zeros.
        names: tensors that all files have in one shape.
        threads: worker threads; the figures do not depend on it.
        largest: whether the largest magnitudes are wanted too.
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

    def __init__(self, files: Sequence[CheckpointFile], rows: Sequence[Row], largest: bool) -> None:
        self._files, self._rows, self._largest = files, rows, largest
        self.size = max(_LEAST, min(_MOST, _NUMBERS // (len(files) + len(rows))))
        self._raw = torch.empty(self.size * 8, dtype=torch.uint8)
        self._single = torch.empty(self.size)
        self._models = torch.empty(len(files), self.size, dtype=torch.float64)
        self._vectors = torch.empty(len(rows) * self.size, dtype=torch.float64)

    def gram(self, item: _Item) -> Gram:
        """The sums over a whole tensor."""
        elements = item.infos[0].elements
        result = Gram.empty(len(self._rows))
        for first in range(0, elements, self.size):
            count = min(self.size, elements - first)
            for index, info in enumerate(item.infos):
                self._load(index, info, first, count)
            vectors = self._combine(count)
            largest = _largest(vectors) if self._largest else result.largest
            result += Gram(count, _products(vectors), largest)
        return result

    def _load(self, index: int, info: TensorInfo, first: int, count: int) -> None:
        size = SIZES[info.dtype]
        part = self._raw[: count * size].view(info.dtype)
        self._files[index].read_into(part, info.begin + first * size)
        if info.dtype in _DIRECT:
            self._models[index, :count].copy_(part)
        else:
            self._models[index, :count].copy_(self._single[:count].copy_(part))

    def _combine(self, count: int) -> Tensor:
        """The vectors [k, count]."""
        vectors = self._vectors[: len(self._rows) * count].view(len(self._rows), count)
        for vector, row in zip(vectors, self._rows, strict=True):
            first, *rest = row.items() or ((0, 0.0),)
            torch.mul(self._models[first[0], :count], first[1], out=vector)
            for model, factor in rest:
                vector.add_(self._models[model, :count], alpha=factor)
        return vectors


def _products(vectors: Tensor) -> Tensor:
    """All inner products; few by pairs, which reads each vector from the cache, many by one product of matrices."""
    count = len(vectors)
    if count > _FEW:
        return vectors @ vectors.T
    result = torch.empty(count, count, dtype=torch.float64)
    for i in range(count):
        for j in range(i, count):
            result[i, j] = result[j, i] = torch.dot(vectors[i], vectors[j])
    return result


def _largest(vectors: Tensor) -> Tensor:
    """The largest magnitude of each; row by row, which is ten times faster than along a dimension."""
    ends = [torch.aminmax(vector) for vector in vectors]
    return torch.stack([torch.maximum(-low, high) for low, high in ends])
