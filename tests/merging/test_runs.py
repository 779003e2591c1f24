"""How tensors become runs and chunks, and how threads work them off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import Stopped
from lib_astolfo.merging import formula, plan, runs, workers
from lib_astolfo.merging.engine import merge, open_files
from lib_astolfo.merging.live import LiveWeights
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.workers import work_off
from tests.benchmarks import synthetic
from tests.merging.tiny import UNET, Make, load, same_bits, weighted_sum

Resolve = Callable[[str], Path]
RECIPE = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3)


class Model:
    """The tensors of a file, loaded."""

    def __init__(self, path: Path) -> None:
        self.source = CheckpointFile.open(path)
        self.loaded = {name: value for name, value in load(path).items() if value.is_floating_point()}

    def weights(self) -> dict[str, torch.Tensor]:
        return self.loaded


@dataclass(frozen=True)
class Job:
    number: int
    nbytes: int = 1 << 20


def tasks_of(resolve: Resolve, recipe: Recipe) -> list[plan.Task]:
    with open_files(recipe, resolve) as files:
        tasks = plan.build(recipe, files).tasks
    return sorted(tasks, key=lambda task: (-task.dtype.itemsize, task.name))


def test_neighbours_of_one_kind_become_one_run(make: Make, resolve: Resolve) -> None:
    make("a", 1)
    make("b", 2)
    tasks = tasks_of(resolve, RECIPE)
    found = runs.make_runs(tasks)
    assert [task for run in found for task in run.tasks] == tasks
    kinds = ["copy" if run.tasks[0].reason else "merge" for run in found]
    assert kinds == ["copy", "merge", "copy", "merge"]  # position ids, text encoders, VAE, UNet
    assert len(runs.make_runs(tasks, join=False)) == len(tasks)


def test_chunks_cover_every_value_once(make: Make, resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SMALLEST", 1)
    make("a", 1)
    make("b", 2)
    for run in runs.make_runs(tasks_of(resolve, RECIPE)):
        covered = [0] * run.elements
        for chunk in runs.cut(run, 200):
            assert chunk.nbytes <= 200
            at = chunk.start
            for task, first, last in chunk.tasks():
                assert run.starts[run.tasks.index(task)] + first == at
                at += last - first
            for index in range(chunk.start, chunk.stop):
                covered[index] += 1
            for leaf in range(len(run.tasks[0].value.leaves)):
                assert sum(count for _, count in chunk.segments(leaf)) == chunk.elements * run.tasks[0].dtype.itemsize
        assert set(covered) == {1}


def test_many_models_make_smaller_chunks(make: Make, resolve: Resolve) -> None:
    with CheckpointFile.open(make("a", 1)) as file:
        leaf = formula.Leaf(file, file.tensors[UNET + "out.2.weight"])
    other = [formula.Leaf(leaf.file, info) for info in leaf.file.tensors.values()][:100]
    few = plan.Task("x", torch.float16, formula.Value(formula.Apply("weighted_sum", (0, 1)), (leaf, other[0])))
    many = plan.Task("x", torch.float16, formula.Value(formula.Apply("weighted_sum", (0, 1)), (leaf, *other * 20)))
    assert runs.chunk_elements(few) == runs.CHUNK // 2
    assert runs.SMALLEST <= runs.chunk_elements(many) < runs.CHUNK // 2


def test_equal_inputs_are_read_once(make: Make, resolve: Resolve) -> None:
    make("a", 1)
    make("b", 2)
    inner = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.5, dtype="fp32")
    task = tasks_of(resolve, Recipe("add_difference", {"a": "a", "b": inner, "c": "b"}, 0.5))[-1]
    assert task.name.startswith(UNET)
    assert len(task.value.leaves) == 2


@pytest.mark.parametrize("family", ["sdxl", "sd1"])
def test_every_key_of_the_real_layouts(family: str, resolve: Resolve, models: Path) -> None:
    """All 2515 (SDXL) or 1130 (SD1) keys: each is merged, or copied for one of three reasons."""
    for seed, name in enumerate("ab"):
        synthetic.write(models / f"{name}.safetensors", family, "tiny", seed)
    report = merge(RECIPE, resolve, models / "out.safetensors")
    assert set(report.copied.values()) <= {"VAE is kept", "integers are kept", "of no known block"}
    a, b, out = (load(models / f"{name}.safetensors") for name in ("a", "b", "out"))
    assert len(out) == len(a) == report.merged + len(report.copied)
    for name, found in out.items():
        wanted = a[name] if name in report.copied else weighted_sum(a[name], b[name], 0.3, torch.float16)
        assert same_bits(found, wanted), name


@pytest.mark.parametrize("threads", [1, 3])
def test_every_item_is_done_once(threads: int) -> None:
    done: list[int] = []
    told: list[int] = []
    jobs = [Job(number) for number in range(200)]
    work_off(
        jobs,
        lambda: lambda job: done.append(job.number),
        threads=threads,
        progress=lambda now, total, text: told.append(now),
    )
    assert sorted(done) == list(range(200))
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 200 << 20)


def test_the_first_error_comes_out_and_all_threads_end() -> None:
    def fail(job: Job) -> None:
        if job.number == 7:
            raise ValueError("seven")

    before = threading.active_count()
    with pytest.raises(ValueError, match="seven"):
        work_off([Job(n) for n in range(1000)], lambda: fail, threads=3)
    assert threading.active_count() == before


def test_a_blocked_progress_holds_the_work_back() -> None:
    done: list[int] = []
    counts: list[int] = []

    def progress(now: int, total: int, text: str) -> None:
        if now == 64 << 20:
            time.sleep(0.2)
            counts.append(len(done))
            time.sleep(0.2)
            counts.append(len(done))

    work_off([Job(n) for n in range(500)], lambda: lambda job: done.append(job.number), threads=2, progress=progress)
    assert counts[0] == counts[1] <= 64
    assert len(done) == 500


def test_a_blocked_progress_holds_the_parts_of_one_item_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.02)
    gate, parts, counts = workers.Gate(), [], []

    def work(job: Job) -> None:
        for _ in range(300):
            gate.wait()
            parts.append(1)
            time.sleep(0.001)

    def progress(now: int, total: int, text: str) -> None:
        if 20 < len(parts) < 250 and not counts:
            time.sleep(0.1)
            counts.append(len(parts))
            time.sleep(0.2)
            counts.append(len(parts))

    work_off([Job(1)], lambda: work, gate=gate, progress=progress)
    assert counts[0] == counts[1] < 300
    assert len(parts) == 300


def test_what_progress_raises_ends_the_work() -> None:
    done: list[int] = []

    def progress(now: int, total: int, text: str) -> None:
        if now:
            raise Stopped("by hand")

    with pytest.raises(Stopped):
        work_off([Job(n) for n in range(5000)], lambda: lambda job: done.append(1), threads=2, progress=progress)
    assert len(done) < 5000


def test_repeated_changes_do_not_grow_memory(make: Make, resolve: Resolve, models: Path) -> None:
    """4 MB of weights, a hundred changes: anonymous memory stays where it was (within 8 MB of noise)."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")

    def anonymous() -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("RssAnon"))

    for seed, name in enumerate("ab"):
        make(
            name, seed, extra={UNET + "output_blocks.1.1.proj_in.weight": torch.full((2000, 1000), float(seed)).half()}
        )

    model = Model(models / "a.safetensors")
    own = {name: value.clone() for name, value in model.loaded.items()}
    live = LiveWeights(model, resolve)
    for step in range(20):
        live.apply(RECIPE.with_ratio(step / 10))
    start = anonymous()
    for step in range(100):
        live.apply(RECIPE.with_ratio(step / 100))
    assert anonymous() - start < 8 << 10
    live.restore()
    assert all(same_bits(value, own[name]) for name, value in model.loaded.items())
