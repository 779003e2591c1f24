"""Runs and chunks: neighbours that are computed alike become one run, and runs are cut into pieces of a few MB."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from lib_astolfo.checkpoints.dtypes import SIZES
from lib_astolfo.merging import formula, kernels
from lib_astolfo.merging.formula import Apply
from lib_astolfo.merging.plan import Task

#: Bytes of one chunk of one tensor in the output dtype.
CHUNK = 2 << 20
#: Bytes of fp32 scratch that one thread may hold; with many models the chunks become smaller.
SCRATCH = 64 << 20
#: Most elements of a part for methods that allocate by themselves. They work in blocks that stay in the processor's
#: cache; what costs with smaller parts is Python between them, and histograms of each.
PART = 1 << 20
#: Fewest elements of a chunk.
SMALLEST = 1 << 14


@dataclass(frozen=True)
class Run:
    """Tasks that are computed alike and lie behind one another in the output.

    ``starts`` holds the first element of each task, and the number of all elements at its end.
    ``pieces`` is False where a tensor must be computed whole.
    ``fused``: one method on stored tensors of the output's own dtype, with an exact kernel for it.
    """

    tasks: tuple[Task, ...]
    starts: tuple[int, ...]
    pieces: bool
    fused: bool

    @property
    def elements(self) -> int:
        return self.starts[-1]


@dataclass(frozen=True)
class Chunk:
    """Elements ``start`` to ``stop`` of a run."""

    run: Run
    start: int
    stop: int

    @property
    def elements(self) -> int:
        return self.stop - self.start

    @property
    def nbytes(self) -> int:
        return self.elements * item_size(self.run.tasks[0])

    def tasks(self) -> Iterator[tuple[Task, int, int]]:
        """The tasks this chunk touches, each with its first and last element (of the task)."""
        index = bisect.bisect_right(self.run.starts, self.start) - 1
        at = self.start
        while at < self.stop:
            first, last = self.run.starts[index], self.run.starts[index + 1]
            end = min(last, self.stop)
            if end > at:
                yield self.run.tasks[index], at - first, end - first
            at, index = end, index + 1

    def segments(self, leaf: int) -> list[tuple[int, int]]:
        """Where a leaf's values lie in its file: (byte offset, bytes), neighbours joined."""
        if len(self.run.tasks) == 1:
            info = self.run.tasks[0].value.leaves[leaf].info
            size = SIZES[info.dtype]
            return [(info.begin + self.start * size, self.elements * size)]
        found: list[tuple[int, int]] = []
        for task, first, last in self.tasks():
            info = task.value.leaves[leaf].info
            size = SIZES[info.dtype]
            begin, count = info.begin + first * size, (last - first) * size
            if found and sum(found[-1]) == begin:
                found[-1] = (found[-1][0], found[-1][1] + count)
            else:
                found.append((begin, count))
        return found


def item_size(task: Task) -> int:
    """Bytes of one element of the output."""
    return SIZES[task.dtype]


def elements(task: Task) -> int:
    """Number of values of a tensor."""
    return task.value.leaves[0].info.elements


def make_runs(tasks: Sequence[Task], *, join: bool = True) -> list[Run]:
    """Runs over tasks in output order; empty tensors fall away.

    ``join`` False gives every tensor its own run, for targets that do not lie behind one another.
    """
    runs: list[list[Task]] = []
    for task in tasks:
        if elements(task) == 0:
            continue
        if join and runs and _alike(runs[-1][-1], task):
            runs[-1].append(task)
        else:
            runs.append([task])
    return [_run(tuple(group)) for group in runs]


def cut(run: Run, size: int = CHUNK) -> Iterator[Chunk]:
    """Chunks of a run; a run that cannot be cut is one chunk, which is computed in its ``parts``."""
    step = chunk_elements(run.tasks[0], size) if run.pieces else run.elements
    for start in range(0, run.elements, step):
        yield Chunk(run, start, min(start + step, run.elements))


def parts(task: Task) -> list[tuple[int, int]]:
    """First and last element of each part in which a tensor is computed whose figures are needed first.

    They depend on the task alone: elements, whole rows, or the whole tensor, as its methods want it.
    """
    count, unit = elements(task), formula.unit(task.value.formula)
    if task.common is not None or unit == "tensor" or (unit == "row" and len(task.shape) < 2):
        return [(0, count)]
    step = chunk_elements(task)
    if unit == "row":
        row = count // task.shape[0]
        step = row * max(1, step // row)
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def chunk_elements(task: Task, size: int = CHUNK) -> int:
    """Elements of a chunk: ``size`` bytes of output, less where many models would fill the scratch memory."""
    own = formula.temporaries(task.value.formula)
    most = min(size // item_size(task), SCRATCH // (4 * _buffers(task)))
    return max(SMALLEST, min(most, PART) if own else most)


def whole_bytes(task: Task) -> int:
    """About how much memory it takes to compute a tensor whole."""
    return 4 * _buffers(task) * elements(task)


def _buffers(task: Task) -> int:
    root = task.value.formula
    return len(task.value.leaves) + formula.depth(root) + formula.temporaries(root) + 1


def _run(tasks: tuple[Task, ...]) -> Run:
    starts = tuple(accumulate((elements(task) for task in tasks), initial=0))
    return Run(tasks, starts, _in_pieces(tasks[0]), _fused(tasks[0]))


def _in_pieces(task: Task) -> bool:
    return task.common is None and formula.elementwise(task.value.formula)


def _joinable(task: Task) -> bool:
    return task.common is None and formula.joinable(task.value.formula)


def _alike(a: Task, b: Task) -> bool:
    """True if two tasks can be computed in one go. Raw copies join whatever their reason."""
    if not (_joinable(a) and _joinable(b)) or a.dtype != b.dtype or a.value.formula != b.value.formula:
        return False
    if len(a.value.leaves) != len(b.value.leaves):
        return False
    pairs = zip(a.value.leaves, b.value.leaves, strict=True)
    return all(x.file is y.file and x.info.dtype == y.info.dtype for x, y in pairs) and a.check == b.check


def _fused(task: Task) -> bool:
    root = task.value.formula
    if not isinstance(root, Apply) or root.inputs != tuple(range(len(root.inputs))):
        return False
    if root.entry.half is None or root.entry.placed:
        return False
    if any(leaf.info.dtype != task.dtype for leaf in task.value.leaves):
        return False
    return task.dtype == torch.float32 or (
        task.dtype in (torch.float16, torch.bfloat16) and kernels.half_is_exact(task.dtype)
    )
