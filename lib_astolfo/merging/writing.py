"""The output of a merge: figures of the whole model first, then every tensor, written, flushed and noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lib_astolfo.merging import cuda, figures, resume, runs
from lib_astolfo.merging.compute import Computer
from lib_astolfo.merging.flushing import FlushingWriter
from lib_astolfo.merging.kernels import Scratch
from lib_astolfo.merging.limits import Budget, InOrder
from lib_astolfo.merging.plan import Plan, Task
from lib_astolfo.merging.whole import Whole
from lib_astolfo.merging.workers import Gate, Progress, work_off


@dataclass(frozen=True)
class Order:
    """What is to be written: a plan, where to, with which header entries, and how."""

    plan: Plan
    output: Path
    entries: Mapping[str, str]
    overwrite: bool
    threads: int
    device: str = "cpu"
    resume: bool = False

    @property
    def keep_a(self) -> bool:
        """Whether A's values take the place of those that are not finite."""
        return self.plan.recipe.options.get("non_finite") == "keep_a"


@dataclass(frozen=True)
class Done:
    """A file that was written: values that are A's by key, its size, and what people should know."""

    replaced: Mapping[str, int]
    size: int
    notes: tuple[str, ...]


def write(order: Order, progress: Progress | None, check: Callable[[], None]) -> Done:
    """Compute and write every tensor of a plan; ``check`` is called before the file takes its name.

    Raises:
        as ``engine.merge``. Nothing is left then, and after a crash the temporary file and its journal.
    """
    listed = [(task.name, task.dtype, task.shape) for task in order.plan.tasks]
    writer = FlushingWriter(order.output, listed, order.entries, overwrite=order.overwrite)
    wanted = resume.identity(writer.header, order.plan.files, order.device)
    taken = resume.Taken()
    if order.resume:
        taken = resume.take(order.output, wanted, writer.header, writer.size, order.overwrite)
    if taken.part is not None:
        writer.adopt(taken.part, taken.progress.done)
    crew = Crew(order.keep_a, order.threads, order.device)
    with writer:
        journal = _journal(writer, None if taken.part is not None else wanted)
        try:
            replaced = _fill(order, writer, crew, (journal, taken.progress), progress)
            check()
        finally:
            if journal is not None:
                journal.close()
    return Done(replaced, writer.size, _notes(taken, writer.size))


class Crew:
    """What the threads of one merge share, and how each of them begins.

    ``known``: figures of the whole model, to be filled in before the tensors are computed.
    """

    def __init__(self, keep_a: bool, threads: int, device: str = "cpu") -> None:
        self.keep_a = keep_a
        self.threads = threads if device == "cpu" else max(threads, cuda.STREAMS)
        self.device = device
        self.budget = Budget()
        self.gate = Gate()
        self.known: dict[tuple[str, int], Tensor] = {}

    def computer(self, scratch: Scratch | None = None) -> Computer:
        """For a new thread, with buffers of its own if none are given."""
        computer = Computer(self.keep_a, scratch=scratch or Scratch(), lane=cuda.lane(self.device))
        computer.figures, computer.budget, computer.wait = self.known, self.budget, self.gate.wait
        return computer

    def measure(self, tasks: Sequence[Task], progress: Progress | None, *, make: Callable[[], Computer]) -> None:
        """Gather the figures of the whole model that the tasks need, in the order of the tasks."""
        total = figures.Total(tasks)
        total.known |= self.known
        while chunks := [chunk for run in runs.make_runs(total.missing(), join=False) for chunk in runs.cut(run)]:
            self._measure_once(total, chunks, progress, make)
            total.close()
            self.known |= total.known

    def _measure_once(
        self,
        total: figures.Total,
        chunks: Sequence[runs.Chunk],
        progress: Progress | None,
        make: Callable[[], Computer],
    ) -> None:
        in_order = InOrder(total.add, self.gate.wait)
        numbers = {id(chunk): number for number, chunk in enumerate(chunks)}

        def make_worker() -> Callable[[runs.Chunk], None]:
            computer = make()

            def work(chunk: runs.Chunk) -> None:
                with Whole(computer, chunk) as whole:
                    in_order.put(numbers[id(chunk)], whole.shares())

            return work

        text = "measuring the models"
        work_off(chunks, make_worker, threads=self.threads, progress=progress, text=text, gate=self.gate)


def _fill(
    order: Order,
    writer: FlushingWriter,
    crew: Crew,
    noted: tuple[resume.Journal | None, resume.Progress],
    progress: Progress | None,
) -> dict[str, int]:
    """Every tensor that is not yet there; returns the values that are A's, by key."""
    journal, before = noted
    tasks = sorted(order.plan.tasks, key=lambda task: writer.begin(task.name))
    crew.known |= before.figures
    crew.measure(tasks, progress, make=crew.computer)
    if journal is not None and crew.known and not before.figures:
        journal.figures(crew.known)
    chunks = [chunk for run in runs.make_runs(tasks) for chunk in runs.cut(run)]
    ends = [_offset(writer, chunk) + chunk.nbytes for chunk in chunks]
    first = sum(end <= before.done for end in ends)
    tracker = resume.Tracker(ends[first:], before, len(writer.header))
    writer.before_flush = None if journal is None else _noting(journal, tracker)
    numbers = {id(chunk): number for number, chunk in enumerate(chunks[first:])}
    written = before.done - len(writer.header) if first else 0

    def make_worker() -> Callable[[runs.Chunk], None]:
        computer = crew.computer()

        def work(chunk: runs.Chunk) -> None:
            computer.replaced = {}
            begin, size = _offset(writer, chunk), runs.item_size(chunk.run.tasks[0])
            for start, values in computer.parts(chunk):
                writer.write(begin + (start - chunk.start) * size, values)
            tracker.finish(numbers[id(chunk)], computer.replaced)

        return work

    text = f"merging {writer.path.name}"
    work_off(
        chunks[first:],
        make_worker,
        threads=crew.threads,
        progress=progress,
        text=text,
        gate=crew.gate,
        before=written,
    )
    return tracker.state()[1]


def _offset(writer: FlushingWriter, chunk: runs.Chunk) -> int:
    first = chunk.run.tasks[0]
    return writer.begin(first.name) + chunk.start * runs.item_size(first)


def _journal(writer: FlushingWriter, wanted: Mapping[str, object] | None) -> resume.Journal | None:
    """The journal beside the writer's temporary file, or None where none can be kept."""
    try:
        return resume.Journal(writer.journal, wanted)
    except OSError:
        return None


def _noting(journal: resume.Journal, tracker: resume.Tracker) -> Callable[[], Callable[[], None]]:
    def before() -> Callable[[], None]:
        offset, replaced = tracker.state()
        return lambda: journal.done(offset, replaced)

    return before


def _notes(taken: resume.Taken, size: int) -> tuple[str, ...]:
    if taken.part is not None:
        return (f"resumed at {taken.progress.done / 1e9:.2f} of {size / 1e9:.2f} GB",)
    return (f"an earlier merge to this name had been cut off; begun anew: {taken.reason}",) if taken.reason else ()
