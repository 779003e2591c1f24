"""One chunk: read it from every file, compute it, and see that it is finite."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_astolfo.errors import Failed
from lib_astolfo.merging import formula, kernels
from lib_astolfo.merging.formula import Apply
from lib_astolfo.merging.plan import Task
from lib_astolfo.merging.runs import Chunk


@dataclass
class Computer:
    """The buffers of one thread, and what it replaced.

    ``keep_a``: put A's values where the result is not finite, and count; otherwise that is an error.
    """

    keep_a: bool = False
    replaced: dict[str, int] = field(default_factory=dict)
    scratch: kernels.Scratch = field(default_factory=kernels.Scratch)

    def chunk(self, chunk: Chunk, out: Tensor | None = None) -> Tensor:
        """Compute a chunk.

        Args:
            chunk: which values.
            out: contiguous flat tensor of the output dtype to write into, or None for a buffer of this thread,
                which is valid until the next call.

        Returns:
            flat tensor of the output dtype.

        Raises:
            Failed: a value is not finite, or a file has changed; names the key.
        """
        task = chunk.run.tasks[0]
        self.scratch.reset()
        own = out is None
        if out is None:
            out = self.scratch.take((chunk.elements,), task.dtype)
        if task.raw:
            self._read(chunk, 0, out)
        elif task.common is not None:
            self._common_channels(chunk, out)
        elif chunk.run.fused:
            self._fused(chunk, out, out if own else self.scratch.take(out.shape, out.dtype))
        else:
            shape = (chunk.elements,) if chunk.run.pieces else task.shape
            leaves = [self._leaf(chunk, i, shape) for i in range(len(task.value.leaves))]
            out.view(shape).copy_(formula.evaluate(task.value.formula, leaves, self.scratch))
        if task.check and not kernels.all_finite(out, self.scratch):
            self._not_finite(chunk, out)
        return out

    def _fused(self, chunk: Chunk, out: Tensor, first: Tensor) -> None:
        """Element-wise method in the files' own dtype. ``first`` takes A; it may be ``out`` itself, but reading into
        memory that is not in the processor's cache and computing there is slower than one more buffer."""
        root = chunk.run.tasks[0].value.formula
        assert isinstance(root, Apply) and root.entry.half is not None
        self._read(chunk, 0, first)
        others = []
        for leaf in range(1, len(root.inputs)):
            others.append(self.scratch.take((chunk.elements,), out.dtype))
            self._read(chunk, leaf, others[-1])
        root.entry.half(out, first, *others, **dict(root.options))

    def _leaf(self, chunk: Chunk, leaf: int, shape: tuple[int, ...]) -> Tensor:
        """A leaf's part in fp32."""
        dtype = chunk.run.tasks[0].value.leaves[leaf].info.dtype
        values = self.scratch.take(shape)
        if dtype == torch.float32:
            self._read(chunk, leaf, values.view(-1))
            return values
        stored = self.scratch.take((chunk.elements,), dtype)
        self._read(chunk, leaf, stored)
        values.view(-1).copy_(stored)
        self.scratch.give_back()
        return values

    def _read(self, chunk: Chunk, leaf: int, into: Tensor) -> None:
        file = chunk.run.tasks[0].value.leaves[leaf].file
        segments = chunk.segments(leaf)
        if len(segments) == 1:
            file.read_into(into, segments[0][0])
            return
        raw, at = into.view(torch.uint8), 0
        for offset, count in segments:
            file.read_into(raw[at : at + count], offset)
            at += count

    def _common_channels(self, chunk: Chunk, out: Tensor) -> None:
        """A convolution whose inputs differ in width: merge the channels all have, keep A's others."""
        task = chunk.run.tasks[0]
        assert task.common is not None
        leaves = []
        for leaf in task.value.leaves:
            values = torch.empty(leaf.info.shape, dtype=leaf.info.dtype)
            leaf.file.read_into(values, leaf.info.begin)
            leaves.append(values.float())
        narrow = [values[:, : task.common].contiguous() for values in leaves]
        leaves[0][:, : task.common] = formula.evaluate(task.value.formula, narrow, self.scratch)
        out.copy_(leaves[0].view(-1))

    def _not_finite(self, chunk: Chunk, out: Tensor) -> None:
        at = 0
        for task, first, last in chunk.tasks():
            values = out[at : at + last - first]
            at += last - first
            if bool(kernels.finite_mask(values).all()):
                continue
            parts = [_stored(task, leaf, first, last) for leaf in range(len(task.value.leaves))]
            if not self.keep_a:
                raise Failed(_complaint(task, parts, values))
            count = kernels.replace_non_finite(values, parts[0])
            self.replaced[task.name] = self.replaced.get(task.name, 0) + count


def _stored(task: Task, leaf: int, first: int, last: int) -> Tensor:
    """Elements of a leaf that belong to elements ``first`` to ``last`` of the output (all, if the widths differ)."""
    source = task.value.leaves[leaf]
    values = torch.empty(source.info.elements, dtype=source.info.dtype)
    source.file.read_into(values, source.info.begin)
    return values[first:last] if task.common is None else values


def _complaint(task: Task, parts: list[Tensor], values: Tensor) -> str:
    bad = int((~kernels.finite_mask(values)).sum())
    for leaf, part in zip(task.value.leaves, parts, strict=True):
        if not bool(kernels.finite_mask(part).all()):
            return (
                f"{leaf.file.path}: {task.name} holds values that are not finite ({bad} in the result); "
                "repair the file, or merge with options.non_finite: keep_a"
            )
    top = torch.finfo(task.dtype).max
    return (
        f"{task.name}: {bad} values are beyond {top:g}, the largest that {task.dtype} can hold; "
        "merge with dtype: bf16 or fp32, or with options.non_finite: keep_a"
    )
