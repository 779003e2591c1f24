"""Merges written straight into the loaded weights, with exact undo.

What the weights hold after ``apply`` is what loading a bake of the same recipe would give: the recipe's result in the
recipe's dtype, then in the dtype of the loaded weights. Only tensors whose result differs from what they hold are
written. Weights that the recipe's result does not have are the model's own.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from lib_astolfo.checkpoints.prediction import Say, identify, layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import AstolfoError, BadInput
from lib_astolfo.merging import engine, figures, formula, plan
from lib_astolfo.merging.compute import Computer
from lib_astolfo.merging.kernels import Scratch
from lib_astolfo.merging.plan import Task
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.report import Report
from lib_astolfo.merging.targets import Batch, batches, check_shape
from lib_astolfo.merging.workers import Progress, work_off
from lib_astolfo.merging.writing import Crew

Key = tuple[Any, ...]


class Model(Protocol):
    """What a model must have to be merged into."""

    @property
    def source(self) -> CheckpointFile:
        """The file it was loaded from, kept open."""

    def weights(self) -> dict[str, Tensor]:
        """Checkpoint name to live tensor in the file's shape, sharing storage with the parameters.

        A model may have ``written(names, own)`` too: it is called when these tensors were written to, so that what was
        computed from them is forgotten; ``own`` says that all weights are the model's own again.
        """


class LiveWeights:
    """The weights of one loaded model, into which recipes can be written.

    Undo is exact: a tensor that held what its file says when it was first met is read again through the model's open
    file; any other was copied then and is put back from the copy.
    Two calls never run at once. Whoever draws pictures or trains meanwhile must hold the host's lock.
    """

    def __init__(
        self, model: Model, resolve: engine.Resolve, *, threads: int | None = None, say: Say = identify
    ) -> None:
        """``threads``: 1 or more, 4 or as many as there are cores if not given; the bits do not depend on it.
        ``say``: what a model predicts."""
        threads = min(4, os.cpu_count() or 1) if threads is None else threads
        if threads < 1:
            raise BadInput("threads", threads, "1 or more")
        self._model = model
        self._resolve = resolve
        self._threads = threads
        self._say = say
        self._family = layout_of(model.source).family
        self._lock = threading.RLock()
        self._current: Recipe | None = None
        self._report: Report | None = None
        self._stored: dict[str, Task] = {}
        self._copies: dict[str, Tensor] = {}
        self._held: dict[str, Key] = {}
        self._files: dict[str, CheckpointFile] = {}
        self._scratch = [Scratch() for _ in range(threads)]
        self._touched: set[str] = set()

    @property
    def current(self) -> Recipe | None:
        """The recipe whose result the weights hold, or None for the model's own."""
        return self._current

    @property
    def report(self) -> Report | None:
        """The report of ``current``."""
        return self._report

    def apply(self, recipe: Recipe, *, progress: Progress | None = None) -> Report:
        """Write the recipe's result into the weights.

        Raises:
            BadInput: the recipe does not fit the loaded model; nothing was changed.
            Failed: a value is not finite, or a file was written to; the weights are as they were before the call.
            Stopped: from ``progress``; likewise.
        """
        with self._lock:
            started = time.perf_counter()
            files = engine.open_more(recipe, self._resolve, self._opened())
            engine.check_hashes(recipe, files, progress)
            planned = plan.build(recipe, files, self._say)
            targets = self._present()
            tasks = _fitting(planned, targets, self._family)
            self._remember(targets)
            before, report = self._current, self._report
            for file in files.values():
                file.populate()
            try:
                replaced, written = self._write(planned, tasks, targets, progress)
                engine.check_unchanged(files.values())
            except BaseException:
                self._put_back(before, report)
                raise
            self._current = recipe
            self._give_up({file for file in self._files.values() if file not in files.values()})
            self._files = {os.path.realpath(file.path): file for file in files.values()}
            self._report = engine.make_report(planned, replaced, written, time.perf_counter() - started)
            self._tell()
            return self._report

    def restore(self) -> None:
        """Put the model's own weights back, bit for bit.

        Raises:
            Failed: the model's file was written to meanwhile; the model must be loaded again.
        """
        with self._lock:
            if self._held:
                targets = self._present()
                self._write_own(targets, [name for name in self._held if name in targets])
            self._current = self._report = None
            self._give_up({*self._files.values(), self._model.source})
            self._files = {}
            self._tell()

    @contextmanager
    def temporarily(self, recipe: Recipe | None) -> Iterator[Report | None]:
        """Apply a recipe (None: the model's own weights); whatever stood before is put back, also after an error."""
        before, report = self._current, self._report
        if recipe is None:
            self.restore()
        else:
            self.apply(recipe)
        try:
            yield self._report
        finally:
            with self._lock:
                self._put_back(before, report)

    def _give_up(self, files: Iterable[CheckpointFile]) -> None:
        """The maps of files that are not merged any more."""
        for file in files:
            file.release()

    def _opened(self) -> dict[str, CheckpointFile]:
        """Real path to the files that are open: the model's own, and those of the current recipe."""
        source = self._model.source
        return {**self._files, os.path.realpath(source.path): source}

    def _write(
        self, planned: plan.Plan, tasks: Mapping[str, Task], targets: Mapping[str, Tensor], progress: Progress | None
    ) -> tuple[dict[str, int], int]:
        """Write what differs; returns the values replaced by key, and the bytes written."""
        crew = Crew(planned.recipe.options.get("non_finite") == "keep_a", self._threads)
        buffers = itertools.cycle(self._scratch)
        crew.measure(planned.tasks, progress, make=lambda: crew.computer(next(buffers)))
        keys = {
            name: (*task.key, *figures.signature(task, crew.known), targets[name].dtype) for name, task in tasks.items()
        }
        names = [name for name in tasks if self._held[name] != keys[name]]
        self._write_own(targets, [name for name in targets if name not in tasks])
        work = batches((tasks[name] for name in names), targets)
        self._forget(names)
        computers = self._run(work, _write_batch, crew=crew, progress=progress)
        self._held.update({name: keys[name] for name in names})
        return engine.total_replaced(computers), sum(batch.nbytes for batch in work)

    def _write_own(self, targets: Mapping[str, Tensor], names: Sequence[str]) -> None:
        """Give these tensors the model's own values, where they hold something else."""
        names = [name for name in names if self._held[name] != self._own_key(name, targets[name])]
        stored = [self._stored[name] for name in names if name in self._stored]
        if stored:
            engine.check_unchanged([self._model.source])
        self._forget(names)
        with torch.no_grad():
            for name in names:
                if name in self._copies:
                    targets[name].copy_(self._copies[name])
        self._run(batches(stored, targets), _write_batch)
        self._held.update({name: self._own_key(name, targets[name]) for name in names})

    def _put_back(self, recipe: Recipe | None, report: Report | None) -> None:
        """After an error or a temporary merge: the recipe that stood before, or, if it fails too, the model's own."""
        if recipe is None:
            self.restore()
            return
        try:
            self._current = self._report = None
            self.apply(recipe)
            self._report = report
        except AstolfoError:
            self.restore()
            raise

    def _present(self) -> dict[str, Tensor]:
        """The weights as they are there now. One that is away meanwhile may hold anything when it comes back."""
        targets = self._model.weights()
        self._forget([name for name in self._held if name not in targets])
        return targets

    def _remember(self, targets: Mapping[str, Tensor]) -> None:
        """At the first meeting with a tensor: can it be read again from the model's file, or must it be copied?"""
        source = self._model.source
        new = [name for name in targets if name not in self._held]
        stored = {}
        for name in new:
            info = source.tensors.get(name)
            if info is not None and info.shape == tuple(targets[name].shape) and info.dtype.is_floating_point:
                stored[name] = Task(name, info.dtype, formula.read(formula.Leaf(source, info)), "own", check=False)
        differ: set[str] = set()
        self._run(batches(stored.values(), targets), lambda c, b: differ.update(_different(c, b)))
        self._stored.update({name: task for name, task in stored.items() if name not in differ})
        for name in new:
            if name not in self._stored:
                self._copies[name] = targets[name].detach().to("cpu", copy=True)
            self._held[name] = self._own_key(name, targets[name])

    def _own_key(self, name: str, tensor: Tensor) -> Key:
        if name in self._stored:
            return (*self._stored[name].key, tensor.dtype)
        return ("copy", name, tensor.dtype)

    def _forget(self, names: Sequence[str]) -> None:
        """From here on, and after an error, it is not known what these tensors hold."""
        self._held.update(dict.fromkeys(names, ("unknown",)))
        self._touched.update(names)

    def _tell(self) -> None:
        """Tell the model which tensors hold other values than when it was last told."""
        names, self._touched = self._touched, set()
        told = getattr(self._model, "written", None)
        if names and told is not None:
            told(names, self._current is None)

    def _run(
        self,
        work: Sequence[Batch],
        do: Callable[[Computer, Batch], None],
        *,
        crew: Crew | None = None,
        progress: Progress | None = None,
    ) -> list[Computer]:
        computers: list[Computer] = []
        if not work and progress is None:
            return computers
        crew = crew or Crew(False, self._threads)
        buffers = iter(self._scratch)

        def make_worker() -> Callable[[Batch], None]:
            computer = crew.computer(next(buffers))
            computers.append(computer)
            return lambda batch: do(computer, batch)

        text = "merging into the loaded weights"
        work_off(work, make_worker, threads=self._threads, progress=progress, text=text, gate=crew.gate)
        return computers


def _fitting(planned: plan.Plan, targets: Mapping[str, Tensor], family: str) -> dict[str, Task]:
    """The tasks whose tensors are loaded, by name."""
    if planned.layout.family != family:
        raise BadInput(planned.recipe.describe(), f"{planned.layout.family} models", f"{family}, as the loaded one is")
    tasks = {task.name: task for task in planned.tasks if task.name in targets}
    for name, task in tasks.items():
        check_shape(task, targets[name])
    return tasks


def _write_batch(computer: Computer, batch: Batch) -> None:
    for piece in batch.pieces:
        piece.write(computer)


def _different(computer: Computer, batch: Batch) -> list[str]:
    """Names of the tensors that do not hold what their file says."""
    return [piece.chunk.run.tasks[0].name for piece in batch.pieces if not piece.holds(computer)]
