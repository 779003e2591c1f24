"""One chunk: read it from every file, compute it, and see that it is finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_astolfo.errors import Failed
from lib_astolfo.merging import formula, kernels
from lib_astolfo.merging.cuda import Lane
from lib_astolfo.merging.formula import Apply, Leaf, Part
from lib_astolfo.merging.limits import Budget
from lib_astolfo.merging.plan import Task
from lib_astolfo.merging.runs import Chunk


@dataclass
class Computer:
    """The buffers of one thread, and what it replaced.

    Attributes:
        keep_a: put A's values where the result is not finite, and count; otherwise that is an error.
        replaced: how many, by key.
        scratch: buffers on the processor.
        figures: what was measured of the whole model, by entry of the recipe and number of the measure.
        budget: memory for tensors that are computed whole, shared by all threads.
        wait: called between the parts of a tensor; blocks while the work is paused, raises when it is to end.
        lane: the way to another device, or None to compute here.
    """

    keep_a: bool = False
    replaced: dict[str, int] = field(default_factory=dict)
    scratch: kernels.Scratch = field(default_factory=kernels.Scratch)
    figures: Mapping[tuple[str, int], Tensor] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    wait: Callable[[], None] = lambda: None
    lane: Lane | None = None

    def chunk(self, chunk: Chunk, out: Tensor | None = None) -> Tensor:
        """Compute a chunk.

        Args:
            chunk: which values; of a run in pieces.
            out: contiguous flat tensor of the output dtype to write into, or None for a buffer of this thread,
                which is valid until the next call.

        Returns:
            flat tensor of the output dtype.

        Raises:
            Failed: a value is not finite, or a file has changed; names the key.
        """
        task = chunk.run.tasks[0]
        self.reset()
        own = out is None
        if out is None:
            out = self.host.take((chunk.elements,), task.dtype)
        if task.raw:
            self.read(chunk, 0, out)
        elif chunk.run.fused and self.lane is None:
            self._fused(chunk, out, out if own else None)
        else:
            with self.on_device():
                buffers = self.buffers
                leaves = [self.leaf(chunk, i, buffers) for i in range(len(task.value.leaves))]
                part = Part(task.name, chunk.start, task.shape)
                self.round(formula.evaluate(task.value.formula, leaves, buffers, part), out, buffers)
        if task.check and not kernels.all_finite(out, self.scratch):
            self._not_finite(chunk, out)
        return out

    def parts(self, chunk: Chunk) -> Iterator[tuple[int, Tensor]]:
        """The values of a chunk, one part after the other.

        Yields:
            first element (counted as ``chunk.start`` is) and flat tensor of the output dtype, valid until the next.

        Raises:
            as ``chunk``.
        """
        if chunk.run.pieces:
            yield chunk.start, self.chunk(chunk)
            return
        from lib_astolfo.merging.whole import Whole

        with Whole(self, chunk) as whole:
            yield from whole.parts()

    @property
    def host(self) -> kernels.Scratch:
        """Where stored values are read to and results are written from."""
        return self.scratch if self.lane is None else self.lane.host

    @property
    def buffers(self) -> kernels.Scratch:
        """Where values are computed."""
        return self.scratch if self.lane is None else self.lane.scratch

    def reset(self) -> None:
        """Make every buffer free again."""
        self.scratch.reset()
        if self.lane is not None:
            self.lane.settle()
            self.lane.host.reset()
            self.lane.scratch.reset()

    def on_device(self) -> AbstractContextManager[object]:
        """A context for operations on ``buffers``."""
        return nullcontext() if self.lane is None else self.lane.on()

    def leaf(self, chunk: Chunk, leaf: int, buffers: kernels.Scratch) -> Tensor:
        """A leaf's part in fp32, flat, in one of ``buffers``."""
        dtype = chunk.run.tasks[0].value.leaves[leaf].info.dtype
        if self.lane is not None:
            stored = self.lane.host.take((chunk.elements,), dtype)
            self.read(chunk, leaf, stored)
            return self.lane.send(stored, buffers)
        if dtype == torch.float32:
            return self.stored(chunk, leaf, buffers)
        values = buffers.take((chunk.elements,))
        mark = buffers.mark()
        values.copy_(self.stored(chunk, leaf, buffers))
        buffers.reset(mark)
        return values

    def stored(self, chunk: Chunk, leaf: int, buffers: kernels.Scratch, into: Tensor | None = None) -> Tensor:
        """Stored values of a leaf, flat: a view of the file where it is mapped, else in ``into`` or one of ``buffers``;
        not to be written to."""
        source, segments = chunk.run.tasks[0].value.leaves[leaf], chunk.segments(leaf)
        seen = source.file.view(segments[0][0], chunk.elements, source.info.dtype) if len(segments) == 1 else None
        if seen is not None:
            return seen
        values = buffers.take((chunk.elements,), source.info.dtype) if into is None else into
        self.read(chunk, leaf, values)
        return values

    def round(self, values: Tensor, out: Tensor, buffers: kernels.Scratch) -> None:
        """Computed fp32 values as ``out`` has them."""
        if self.lane is None:
            out.copy_(values)
        else:
            self.lane.fetch(values, out, buffers)

    def read(self, chunk: Chunk, leaf: int, into: Tensor) -> None:
        """Stored values of a leaf into a host tensor of its dtype."""
        file = chunk.run.tasks[0].value.leaves[leaf].file
        segments = chunk.segments(leaf)
        if len(segments) == 1:
            file.read_into(into, segments[0][0])
            return
        raw, at = into.view(torch.uint8), 0
        for offset, count in segments:
            file.read_into(raw[at : at + count], offset)
            at += count

    def replace(self, name: str, count: int) -> None:
        """Note that values of a key became A's."""
        self.replaced[name] = self.replaced.get(name, 0) + count

    def _fused(self, chunk: Chunk, out: Tensor, first: Tensor | None) -> None:
        """Element-wise method in the files' own dtype. ``first`` may take A; it may be ``out`` itself, but reading into
        memory that is not in the processor's cache and computing there is slower than one more buffer."""
        root = chunk.run.tasks[0].value.formula
        assert isinstance(root, Apply) and root.entry.half is not None
        others = range(1, len(root.inputs))
        inputs = [self.stored(chunk, 0, self.scratch, first), *(self.stored(chunk, i, self.scratch) for i in others)]
        root.entry.half(out, *inputs, **dict(root.options))

    def _not_finite(self, chunk: Chunk, out: Tensor) -> None:
        at = 0
        for task, first, last in chunk.tasks():
            values = out[at : at + last - first]
            at += last - first
            if bool(kernels.finite_mask(values).all()):
                continue
            if not self.keep_a:
                raise Failed(complaint(task, first, last, values))
            self.replace(task.name, kernels.replace_non_finite(values, stored(task.value.leaves[0], first, last)))


def stored(leaf: Leaf, first: int, last: int) -> Tensor:
    """Elements ``first`` to ``last`` of a leaf as the file has them, flat."""
    values = torch.empty(last - first, dtype=leaf.info.dtype)
    leaf.file.read_into(values, leaf.info.begin + first * values.element_size())
    return values


def complaint(task: Task, first: int, last: int, values: Tensor) -> str:
    """Why a result is not finite: an input that is not, or a number that is too large for the dtype."""
    bad = int((~kernels.finite_mask(values)).sum())
    for leaf in task.value.leaves:
        span = (first, last) if task.common is None else (0, leaf.info.elements)
        if not bool(kernels.finite_mask(stored(leaf, *span)).all()):
            return input_complaint(leaf, task.name, bad)
    return overflow_complaint(task.name, task.dtype, bad)


def input_complaint(leaf: Leaf, name: str, bad: int) -> str:
    """For values of a file that are not finite."""
    return (
        f"{leaf.file.path}: {name} holds values that are not finite ({bad} in the result); "
        "repair the file, or merge with options.non_finite: keep_a"
    )


def overflow_complaint(name: str, dtype: torch.dtype, bad: int) -> str:
    """For results that a dtype cannot hold."""
    return (
        f"{name}: {bad} values are beyond {torch.finfo(dtype).max:g}, the largest that {dtype} can hold; "
        "merge with dtype: bf16 or fp32, or with options.non_finite: keep_a"
    )
