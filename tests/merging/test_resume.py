"""Merges that go on after a crash: kill -9 at random moments, and everything that must not match by chance."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints import files
from lib_astolfo.errors import Failed, Stopped
from lib_astolfo.merging import flushing, methods, resume, runs, workers
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.report import Report
from tests.merging import measuring
from tests.merging.tiny import UNET, Make, load

Resolve = Callable[[str], Path]
ROOT = Path(__file__).resolve().parents[2]
SHAPES = {f"{UNET}output_blocks.{n}.1.proj_in.weight": (300, 1000) for n in range(9)} | {
    f"{UNET}input_blocks.{n}.1.proj_in.weight": (300, 900) for n in range(9)
}

MERGE = """
import sys, time
from pathlib import Path
from lib_astolfo.merging import flushing, methods, runs, workers
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.recipe import Recipe
from tests.merging import measuring
methods.METHODS.update(measuring.METHODS)
models, output, recipe = Path(sys.argv[1]), Path(sys.argv[2]), Recipe.from_yaml(sys.argv[3])
flushing.FLUSH, workers.PROGRESS_STEP = 1 << 17, 1 << 18
runs.cut.__defaults__, runs.PART = (1 << 17,), 1 << 14
def slow(done, total, text):
    print(text.split()[0], done, total, flush=True)
    time.sleep(0.02)
merge(recipe, lambda name: models / f"{name}.safetensors", output, progress=slow, resume=True)
"""
SUM = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3)


@pytest.fixture(autouse=True)
def _methods(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, method in measuring.METHODS.items():
        monkeypatch.setitem(methods.METHODS, name, method)
    monkeypatch.setattr(runs.cut, "__defaults__", (1 << 17,))
    monkeypatch.setattr(runs, "PART", 1 << 14)


def recipe_of(method: str) -> Recipe:
    if method == "trim":
        return Recipe("trim", {"base": "a", "a": "b", "b": "c"}, options={"k": 0.4, "non_finite": "keep_a"})
    return Recipe(method, {"a": "a", "b": "b"}, 0.3)


@pytest.fixture
def three(make: Make) -> None:
    """About 10 MB each; c has one value in each tensor that is not finite."""
    for seed, name in enumerate("abc"):
        made = {key: torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for key, shape in SHAPES.items()}
        for values in made.values() if name == "c" else ():
            values[7, 7] = torch.inf
        make(name, seed, extra={key: value.half() for key, value in made.items()})


def killed(models: Path, output: Path, recipe: Recipe, share: float, phase: str = "merging") -> None:
    """Start a merge and kill it when a share of a phase has been begun."""
    command = [sys.executable, "-c", MERGE, str(models), str(output), recipe.to_yaml()]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        now, done, total = line.split()
        if now == phase and int(done) >= share * int(total):
            process.kill()
    process.stdout.close()
    assert process.wait() != 0
    assert left(output.parent) == [".astolfo-journal", ".astolfo-part"]


def left(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir() if path.name.startswith("."))


def notes(report: Report) -> str:
    return "\n".join(report.notes)


@pytest.mark.skipif(os.name == "nt", reason="kill is not kill -9")
@pytest.mark.parametrize("method", ["weighted_sum", "spread", "trim"])
def test_killed_again_and_again(three: None, resolve: Resolve, models: Path, tmp_path: Path, method: str) -> None:
    recipe = recipe_of(method)
    right = merge(recipe, resolve, tmp_path / "right.safetensors")
    output = tmp_path / "out 出力.safetensors"
    if method == "spread":
        killed(models, output, recipe, 0.5, "measuring")
    for share in sorted(random.Random().uniform(0.05, 0.9) for _ in range(2)):
        killed(models, output, recipe, share)
    killed(models, output, recipe, 0.95)
    report = merge(recipe, resolve, output, resume=True, threads=3)
    assert "resumed at" in notes(report)
    assert output.read_bytes() == (tmp_path / "right.safetensors").read_bytes()
    assert report.non_finite == right.non_finite
    assert left(tmp_path) == []


class Crash(BaseException):
    """Ends a merge as a crash does: nothing is cleaned up."""


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch, resolve: Resolve) -> Callable[..., None]:
    """crash(output, recipe): a merge that ends in the middle and leaves what a crash leaves."""

    def run(output: Path, recipe: Recipe = SUM) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(flushing, "FLUSH", 1 << 18)
            patch.setattr(workers, "PROGRESS_STEP", 1 << 18)
            patch.setattr(files.PartFile, "discard", lambda part: os.close(part.fd))

            def progress(done: int, total: int, text: str) -> None:
                time.sleep(0.02)  # time to flush
                if done * 3 > total * 2:
                    raise Crash

            with pytest.raises(Crash):
                merge(recipe, resolve, output, progress=progress, threads=1)
        assert left(output.parent) == [".astolfo-journal", ".astolfo-part"]

    return run


def test_only_what_is_missing_is_computed(
    three: None, resolve: Resolve, tmp_path: Path, crash: Callable[..., None]
) -> None:
    output = tmp_path / "out.safetensors"
    merge(SUM, resolve, tmp_path / "right.safetensors")
    crash(output)
    told: list[tuple[int, int]] = []
    report = merge(SUM, resolve, output, resume=True, progress=lambda done, total, text: told.append((done, total)))
    assert "resumed at 0.0" in notes(report)
    assert told[0][0] > 0.2 * told[0][1]
    assert told[-1][0] == told[-1][1]
    assert output.read_bytes() == (tmp_path / "right.safetensors").read_bytes()


@pytest.mark.parametrize("change", ["recipe", "input", "program", "journal", "part", "nothing", "not asked"])
def test_what_does_not_match_is_begun_anew(
    three: None,
    make: Make,
    resolve: Resolve,
    tmp_path: Path,
    crash: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    output, recipe = tmp_path / "out.safetensors", SUM
    crash(output)
    part = next(tmp_path.glob(".*.astolfo-part"))
    expected = {"program": "another version", "recipe": "another recipe", "input": "b has changed", "part": "damaged"}
    if change == "recipe":
        recipe = recipe.with_ratio(0.4)
    elif change == "input":
        make("b", 2)
    elif change == "program":
        monkeypatch.setattr(resume, "VERSION", 99)
    elif change == "journal":
        files.journal_of(part).write_bytes(b'{"program": [1')
    elif change == "part":
        with part.open("r+b") as file:
            file.write(b"x")
    report = merge(recipe, resolve, output, resume=change != "not asked")
    if change in ("nothing", "not asked"):
        assert ("resumed at" in notes(report)) == (change == "nothing")
    else:
        assert "begun anew" in notes(report)
        assert expected.get(change, "cannot be read") in notes(report)
    merge(recipe, resolve, tmp_path / "right.safetensors")
    assert output.read_bytes() == (tmp_path / "right.safetensors").read_bytes()
    assert left(tmp_path) == []


def test_a_merge_that_still_runs_is_not_taken_over(
    three: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two merges to one name at once: the second does not touch the first one's temporary file."""
    monkeypatch.setattr(workers, "PROGRESS_STEP", 1 << 18)
    monkeypatch.setattr(flushing, "FLUSH", 1 << 18)
    output, inner = tmp_path / "out.safetensors", []

    def progress(done: int, total: int, text: str) -> None:
        if done * 2 > total and not inner:
            inner.append(merge(SUM, resolve, output, resume=True, overwrite=True))

    merge(SUM, resolve, output, progress=progress, overwrite=True)
    assert "resumed" not in notes(inner[0])
    assert left(tmp_path) == []


@pytest.mark.parametrize("error", [Stopped("by hand"), Failed("a disk")])
def test_a_merge_that_fails_leaves_nothing(
    three: None, resolve: Resolve, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PROGRESS_STEP", 1 << 18)

    def progress(done: int, total: int, text: str) -> None:
        if done:
            raise error

    with pytest.raises(type(error)):
        merge(SUM, resolve, tmp_path / "out.safetensors", progress=progress, resume=True)
    assert left(tmp_path) == []


def test_a_journal_is_read_up_to_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = resume.Journal(path, {"program": 1})
    value = torch.tensor([1.5, -torch.inf], dtype=torch.float64)
    journal.figures({("a.b", 0): value})
    journal.done(100, {"x": 2})
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"done": 200, "repl')
    assert resume.read(path)[1].done == 100
    journal = resume.Journal(path, None)
    journal.done(300, {"x": 3})
    journal.close()
    found, progress = resume.read(path)
    assert found == {"program": 1}
    assert (progress.done, progress.replaced) == (300, {"x": 3})
    assert torch.equal(progress.figures["a.b", 0], value)
    assert json.loads(path.read_text().splitlines()[0]) == {"program": 1}


def test_the_offset_waits_for_the_first_piece() -> None:
    tracker = resume.Tracker([10, 20, 30], resume.Progress(), 5)
    tracker.finish(2, {"c": 1})
    tracker.finish(1, {})
    assert tracker.state() == (5, {})
    tracker.finish(0, {"c": 2})
    assert tracker.state() == (30, {"c": 3})


def test_leftovers_without_a_part_go(three: None, resolve: Resolve, tmp_path: Path) -> None:
    orphan = tmp_path / f"{files.part_prefix('out.safetensors')}77-00{files.JOURNAL}"
    orphan.write_text("{}")
    merge(SUM, resolve, tmp_path / "out.safetensors")
    assert left(tmp_path) == []
    assert load(tmp_path / "out.safetensors")
