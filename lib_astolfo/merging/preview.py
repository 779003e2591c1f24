"""A merge on a small share of its keys: how far each block moves from A, what is not finite, how long all would take.

Whole tensors are computed by the engine itself, into memory; nothing is written. Figures of the whole model that some
methods need (supermerger's cosine range) are those of the sample here.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints.blocks import parts_of
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import formula, runs
from lib_astolfo.merging.compute import Computer, stored
from lib_astolfo.merging.plan import Plan, Task
from lib_astolfo.merging.targets import Batch, batches
from lib_astolfo.merging.workers import Progress, work_off
from lib_astolfo.merging.writing import Crew

#: Most tensors of one block.
_MOST = 4
#: A sample that takes fewer seconds is computed several times.
_ENOUGH = 0.4


@dataclass(frozen=True)
class BlockChange:
    """One block in the sample: tensors and values, L2 norm of result minus A, and that norm over A's."""

    tensors: int
    elements: int
    norm: float
    relative: float


@dataclass(frozen=True)
class Preview:
    """The outcome of a merge on a sample.

    Attributes:
        keys: the tensors that were computed.
        share: of all merged values.
        blocks: change against A per block (against the base, for methods on differences), in the order of the blocks.
        non_finite: key to the number of values that are not finite, or too large for the output's dtype.
        seconds: wall time of the sample, or the mean of several runs if it is short.
        total_seconds: of computing all keys, by the sample; without writing.
    """

    keys: tuple[str, ...]
    share: float
    blocks: Mapping[str, BlockChange] = field(default_factory=dict)
    non_finite: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    total_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        blocks = {name: {**vars(change)} for name, change in self.blocks.items()}
        return {**vars(self), "keys": list(self.keys), "blocks": blocks, "non_finite": dict(self.non_finite)}

    def lines(self) -> list[str]:
        """For people: one line, and one for each block."""
        bad = (
            f", {sum(self.non_finite.values())} values not finite in {len(self.non_finite)}" if self.non_finite else ""
        )
        head = f"{len(self.keys)} tensors ({100 * self.share:.2g} %) in {self.seconds:.2f} s{bad}; change against A:"
        rows = [
            f"  {name:5} {100 * one.relative:8.3f} %  (norm {one.norm:.4g}, {one.tensors} tensors)"
            for name, one in self.blocks.items()
        ]
        return [head, *rows]


def preview(
    plan: Plan, *, share: float = 0.01, threads: int = 2, device: str = "cpu", progress: Progress | None = None
) -> Preview:
    """Merge a sample of a plan's keys into memory.

    Args:
        plan: of open files.
        share: of the merged values, more than 0 and at most 1; every block gives one tensor at least.
        threads: worker threads.
        device, progress: as for ``engine.merge``.

    Raises:
        BadInput: a share out of range.
        Failed: a file has changed.
    """
    if not 0 < share <= 1:
        raise BadInput("share", share, "more than 0, at most 1")
    by_block = _by_block(plan)
    chosen = [task for tasks in by_block.values() for task in sample(tasks, share)]
    run = _Run(chosen, Crew(True, max(1, min(threads, len(chosen))), device), progress)
    merged = [task for tasks in by_block.values() for task in tasks]
    whole, done = sum(map(cost, merged)), sum(map(cost, chosen))
    names = {name: [task for task in tasks if task.name in run.results] for name, tasks in by_block.items()}
    return Preview(
        keys=tuple(task.name for task in chosen),
        share=sum(map(runs.elements, chosen)) / max(1, sum(map(runs.elements, merged))),
        blocks={name: _change(tasks, run.results) for name, tasks in names.items()},
        non_finite=run.non_finite,
        seconds=run.seconds,
        total_seconds=run.seconds * whole / max(1.0, done),
    )


def sample(tasks: Sequence[Task], share: float) -> list[Task]:
    """A few tensors of a block that together hold about a share of its values; at least one."""
    if share == 1:
        return list(tasks)
    left = share * sum(map(runs.elements, tasks))
    rest = [task for task in tasks if len(task.shape) > 1] or list(tasks)
    found: list[Task] = []
    while rest and len(found) < _MOST and (not found or left > 0):
        fitting = [task for task in rest if runs.elements(task) <= left]
        if found and not fitting:
            break
        near = max(fitting, key=_size) if fitting else min(rest, key=_size)
        found.append(near)
        rest.remove(near)
        left -= runs.elements(near)
    return found


def _size(task: Task) -> tuple[int, str]:
    return runs.elements(task), task.name


def cost(task: Task) -> float:
    """What computing a tensor costs, in no unit: its values, times the smaller side where it is computed whole."""
    count = float(runs.elements(task))
    if formula.unit(task.value.formula) != "tensor" or len(task.shape) < 2:
        return count
    return count * min(task.shape[0], math.prod(task.shape[1:]))


def _by_block(plan: Plan) -> dict[str, list[Task]]:
    flag = str(plan.recipe.options.get("time_embed", "in00"))
    found: dict[str, list[Task]] = {}
    for task in plan.tasks:
        if task.value.formula != 0 and runs.elements(task):
            found.setdefault(parts_of(task.name, plan.layout, time_embed=flag)[-1], []).append(task)
    return dict(sorted(found.items()))  # which is the order of the blocks


class _Run:
    """The sample's results by name, the values that are not finite by key (A's stand in their place), and its time."""

    def __init__(self, tasks: Sequence[Task], crew: Crew, progress: Progress | None) -> None:
        self._progress = progress
        self._crew = crew
        self._computers: list[Computer] = []
        self.results = {task.name: torch.empty(task.shape, dtype=task.dtype) for task in tasks}
        started = time.perf_counter()
        self._crew.measure(tasks, progress, make=self._crew.computer)
        measuring = time.perf_counter() - started
        work = batches(tasks, self.results)
        self.seconds = self._timed(work)
        self.non_finite = self._replaced()
        if self.seconds < _ENOUGH and work:  # starting threads and touching memory for the first time would count most
            times = math.ceil(_ENOUGH / max(self.seconds, 1e-3))
            self.seconds = self._timed(work * times) / times
        self.seconds += measuring

    def _timed(self, work: Sequence[Batch]) -> float:
        free = list(self._computers)
        lock = threading.Lock()

        def make_worker() -> Callable[[Batch], None]:
            with lock:
                computer = free.pop() if free else self._crew.computer()
                if computer not in self._computers:
                    self._computers.append(computer)
            return lambda batch: _write(computer, batch)

        crew, started = self._crew, time.perf_counter()
        work_off(work, make_worker, threads=crew.threads, progress=self._progress, text="previewing", gate=crew.gate)
        return time.perf_counter() - started

    def _replaced(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for computer in self._computers:
            for name, count in computer.replaced.items():
                found[name] = found.get(name, 0) + count
        return dict(sorted(found.items()))


def _write(computer: Computer, batch: Batch) -> None:
    for piece in batch.pieces:
        piece.write(computer)


def _change(tasks: Sequence[Task], results: Mapping[str, Tensor]) -> BlockChange:
    moved = size = 0.0
    for task in tasks:
        leaf = task.value.leaves[0]
        before = stored(leaf, 0, leaf.info.elements).double()
        moved += float((results[task.name].view(-1).double() - before).square().sum())
        size += float(before.square().sum())
    relative = math.sqrt(moved / size) if size else 0.0
    return BlockChange(len(tasks), sum(map(runs.elements, tasks)), math.sqrt(moved), relative)
