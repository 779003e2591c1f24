"""Live tensors as places to write chunks into: any dtype, strides and device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.merging import runs
from lib_astolfo.merging.compute import Computer
from lib_astolfo.merging.plan import Task
from lib_astolfo.merging.runs import Chunk

#: Integer dtype with the bits of a floating one, to compare bits.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Piece:
    """A chunk of a task and the part of the live tensor it belongs to (flat, or whole rows)."""

    chunk: Chunk
    part: Tensor

    @property
    def nbytes(self) -> int:
        return self.chunk.nbytes

    def write(self, computer: Computer) -> None:
        """Compute the chunk and put it into the live tensor."""
        task = self.chunk.run.tasks[0]
        if self.part.is_contiguous() and self.part.dtype == task.dtype and self.part.device.type == "cpu":
            computer.chunk(self.chunk, self.part.view(-1))
        else:
            self.part.copy_(computer.chunk(self.chunk).view(self.part.shape))

    def holds(self, computer: Computer) -> bool:
        """True if the live tensor holds the chunk, bit for bit, as it would after ``write``."""
        values = computer.chunk(self.chunk).to(self.part.dtype).view(self.part.shape)
        bits = _BITS[values.element_size()]
        return torch.equal(values.view(bits), self.part.to("cpu").contiguous().view(bits))


@dataclass(frozen=True)
class Batch:
    """Pieces of different tensors that are handed to a thread together."""

    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        return sum(piece.nbytes for piece in self.pieces)


def batches(tasks: Iterable[Task], targets: Mapping[str, Tensor]) -> list[Batch]:
    """The work of writing tasks into the live tensors of their names, in portions of about a chunk's size."""
    found: list[Batch] = []
    gathered: list[Piece] = []
    size = 0
    for run in runs.make_runs(list(tasks), join=False):
        for piece in _pieces(run, targets[run.tasks[0].name]):
            gathered.append(piece)
            size += piece.nbytes
            if size >= runs.CHUNK:
                found.append(Batch(tuple(gathered)))
                gathered, size = [], 0
    return [*found, Batch(tuple(gathered))] if gathered else found


def check_shape(task: Task, tensor: Tensor) -> None:
    """Refuse a live tensor of another shape than the recipe's result."""
    if tuple(tensor.shape) != task.shape:
        raise BadInput(task.name, f"shape {list(task.shape)}", f"{list(tensor.shape)}, which the loaded model has")


def _pieces(run: runs.Run, tensor: Tensor) -> Iterator[Piece]:
    tensor = tensor.detach()
    if tensor.is_contiguous():
        flat = tensor.view(-1)
        for chunk in runs.cut(run):
            whole = chunk.elements == run.elements
            yield Piece(chunk, tensor if whole else flat[chunk.start : chunk.stop])
        return
    row = run.elements // tensor.shape[0]
    rows = max(1, runs.chunk_elements(run.tasks[0]) // row) if run.pieces else tensor.shape[0]
    for first in range(0, tensor.shape[0], rows):
        last = min(first + rows, tensor.shape[0])
        yield Piece(Chunk(run, first * row, last * row), tensor[first:last])
