"""One tensor whose figures are needed before its values: measured part by part, then computed part by part.

Values that are not finite would spoil the figures of the whole tensor. So every part is looked at when it is read: by
default such a value ends the merge; with ``keep_a`` all models are taken to have A's value there (0 if that is not
finite either), and the result has A's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

import torch
from torch import Tensor

from lib_astolfo.errors import Failed
from lib_astolfo.merging import figures, formula, kernels, runs
from lib_astolfo.merging.compute import Computer, complaint, overflow_complaint, stored
from lib_astolfo.merging.formula import Part
from lib_astolfo.merging.runs import Chunk


class Whole:
    """A tensor on its way through one thread. A context: memory for a tensor computed whole is asked for and freed."""

    def __init__(self, computer: Computer, chunk: Chunk) -> None:
        self._computer = computer
        self._run = chunk.run
        self._task = chunk.run.tasks[0]
        self._formula = self._task.value.formula
        self._bounds = runs.parts(self._task)
        self._loaded: tuple[int, list[Tensor]] | None = None
        self._bad: Tensor | None = None
        self._sound = False  # every part has been looked at, and every value was finite
        self._leaves: list[Tensor] = []
        self._open = ExitStack()
        self._buffers = computer.buffers

    def __enter__(self) -> Whole:
        self._computer.reset()
        if formula.unit(self._formula) == "tensor":
            self._open.enter_context(self._computer.budget.hold(runs.whole_bytes(self._task)))
            self._buffers = kernels.Scratch(self._buffers.device)
        self._open.enter_context(self._computer.on_device())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._computer.reset()
        self._leaves, self._loaded = [], None
        self._buffers = self._computer.buffers
        self._open.close()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor that the formula is computed on: without the channels that not all models have."""
        whole = self._task.shape
        return whole if self._task.common is None else (whole[0], self._task.common, *whole[2:])

    def shares(self) -> dict[tuple[str, int], Tensor]:
        """What this tensor adds to the next figures of the whole model."""
        return self._gather()[1]

    def parts(self) -> Iterator[tuple[int, Tensor]]:
        """First element and values of each part, as ``Computer.parts``."""
        found, _ = self._gather()
        for start, leaves in self._load():
            part = Part(self._task.name, start, self.shape, found, self._guard)
            values = formula.evaluate(self._formula, leaves, self._buffers, part)
            yield start, self._finished(start, values)

    def _gather(self) -> tuple[dict[int, tuple[Tensor, ...]], dict[tuple[str, int], Tensor]]:
        part = Part(self._task.name, 0, self.shape, guard=self._guard)
        known = {name: value.to(self._buffers.device) for name, value in self._computer.figures.items()}
        return figures.gather(self._formula, self._load, self._buffers, part, known)

    def _load(self) -> Iterator[tuple[int, list[Tensor]]]:
        """The parts: first element, flat finite leaves. A tensor of one part is read once."""
        if self._loaded is not None:
            yield self._loaded
            return
        clean = True
        for start, stop in self._bounds:
            self._computer.wait()
            self._computer.reset()
            self._buffers.reset()
            self._bad = None
            chunk = Chunk(self._run, start, stop)
            read = self._common if self._task.common is not None else self._computer.leaf
            self._leaves = [read(chunk, i, self._buffers) for i in range(len(self._task.value.leaves))]
            if not self._sound:
                self._clean(start, stop)
                clean = clean and self._bad is None
            if len(self._bounds) == 1:
                self._loaded = start, self._leaves
            yield start, self._leaves
        self._sound = clean

    def _common(self, chunk: Chunk, leaf: int, buffers: kernels.Scratch) -> Tensor:
        """The channels of a convolution that all models have."""
        found = self._task.value.leaves[leaf]
        values = stored(found, 0, found.info.elements).view(found.info.shape)[:, : self._task.common].contiguous()
        return values.to(buffers.device).float().view(-1)

    def _clean(self, start: int, stop: int) -> None:
        """Find values that are not finite, and put A's in their place or raise."""
        for values in self._leaves:
            if kernels.all_finite(values, self._buffers):
                continue
            if not self._computer.keep_a:
                raise Failed(complaint(self._task, start, stop, values))
            self._set_a(values, ~values.isfinite(), torch.float32)

    def _guard(self, values: Tensor, dtype: torch.dtype) -> None:
        """The same for values inside the formula that were rounded to a dtype."""
        if kernels.all_finite(values, self._buffers):
            return
        mask = ~values.isfinite()
        if not self._computer.keep_a:
            raise Failed(overflow_complaint(self._task.name, dtype, int(mask.sum())))
        self._set_a(values, mask, dtype)

    def _set_a(self, values: Tensor, mask: Tensor, dtype: torch.dtype) -> None:
        top = torch.finfo(dtype).max
        first = self._leaves[0][mask]
        values[mask] = torch.where(first.isfinite(), first, 0).clamp(-top, top)
        self._bad = mask if self._bad is None else self._bad | mask

    def _finished(self, start: int, values: Tensor) -> Tensor:
        """Rounded to the output's dtype and finite; A's other channels beside those that were merged."""
        task, computer = self._task, self._computer
        host = self._buffers if computer.lane is None else computer.lane.host
        out = host.take(values.shape, task.dtype)
        computer.round(values, out, self._buffers)
        if self._bad is not None or not kernels.all_finite(out, host):
            stop = start + len(out)
            if not computer.keep_a:
                raise Failed(complaint(task, start, stop, out))
            kept = stored(task.value.leaves[0], start, stop) if task.common is None else self._merged_channels()
            also = None if self._bad is None else self._bad.to("cpu")
            computer.replace(task.name, kernels.replace_non_finite(out, kept.reshape(-1), also))
        return out if task.common is None else self._widened(out)

    def _merged_channels(self) -> Tensor:
        leaf = self._task.value.leaves[0]
        return stored(leaf, 0, leaf.info.elements).view(leaf.info.shape)[:, : self._task.common]

    def _widened(self, out: Tensor) -> Tensor:
        leaf = self._task.value.leaves[0]
        wide = stored(leaf, 0, leaf.info.elements).view(leaf.info.shape)
        wide = (wide if self._task.spare == 1 else wide.float() * self._task.spare).to(out.dtype)
        wide[:, : self._task.common] = out.view(self.shape)
        return wide.view(-1)
