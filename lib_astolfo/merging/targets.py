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
    """A chunk of a task and the live tensor it belongs to."""

    chunk: Chunk
    target: Tensor

    @property
    def nbytes(self) -> int:
        return self.chunk.nbytes

    def write(self, computer: Computer) -> None:
        """Compute the chunk and put it into the live tensor."""
        task, target = self.chunk.run.tasks[0], self.target
        direct = target.is_contiguous() and target.dtype == task.dtype and target.device.type == "cpu"
        if direct and self.chunk.run.pieces:
            computer.chunk(self.chunk, target.view(-1)[self.chunk.start : self.chunk.stop])
            return
        for start, values in computer.parts(self.chunk):
            at = 0
            for part in spans(target, start, start + len(values)):
                part.copy_(values[at : at + part.numel()].view(part.shape))
                at += part.numel()

    def holds(self, computer: Computer) -> bool:
        """True if the live tensor holds the chunk, bit for bit, as it would after ``write``."""
        for start, computed in computer.parts(self.chunk):
            values = computed.to(self.target.dtype)
            bits, at = _BITS[values.element_size()], 0
            for part in spans(self.target, start, start + len(values)):
                found = part.to("cpu").contiguous().view(-1)
                if not torch.equal(values[at : at + len(found)].view(bits), found.view(bits)):
                    return False
                at += len(found)
        return True


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
        target = targets[run.tasks[0].name].detach()
        for piece in (Piece(chunk, target) for chunk in runs.cut(run)):
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


def spans(tensor: Tensor, start: int, stop: int) -> Iterator[Tensor]:
    """Views of a tensor of any strides that hold its elements ``start`` to ``stop`` (counted as if it were flat)."""
    if tensor.is_contiguous():
        yield tensor.view(-1)[start:stop]
        return
    row = tensor.numel() // tensor.shape[0]
    at = start
    while at < stop:
        index, inner = divmod(at, row)
        rows = (stop - at) // row
        if inner == 0 and rows:
            yield tensor[index : index + rows]
            at += rows * row
            continue
        end = min(stop, (index + 1) * row)
        yield from spans(tensor[index], inner, inner + end - at)
        at = end
