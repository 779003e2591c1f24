"""kill -9, a full disk, and files that vanish or change under a running merge."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import Failed
from lib_astolfo.merging import flushing, workers
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.recipe import Recipe
from tests.merging.tiny import UNET, Make, load

Resolve = Callable[[str], Path]
RECIPE = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3)
LARGE = UNET + "output_blocks.1.1.proj_in.weight"
ROOT = Path(__file__).resolve().parents[2]

MERGE = """
import sys, time
from pathlib import Path
from lib_astolfo.merging import flushing, workers
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.recipe import Recipe
models, output = map(Path, sys.argv[1:])
workers.PROGRESS_STEP = 1 << 20
def slow(done, total, text):
    print(done, total, flush=True)
    time.sleep(0.05)
recipe = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3)
merge(recipe, lambda name: models / f"{name}.safetensors", output, progress=slow, overwrite=True)
print("finished", flush=True)
"""


def large(seed: int) -> dict[str, torch.Tensor]:
    """24 MB in one tensor: many chunks."""
    return {LARGE: torch.randn(3000, 4000, generator=torch.Generator().manual_seed(seed)).half()}


@pytest.fixture
def pair(make: Make) -> None:
    make("a", 1, extra=large(1))
    make("b", 2, extra=large(2))


def start(models: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MERGE, str(models), str(output)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def wait_for_half(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        done, total = map(int, line.split())
        if done * 3 > total:
            return
    raise AssertionError("the merge ended early")


@pytest.mark.parametrize("older", [False, True])
def test_kill_9_leaves_the_name_as_it_was(
    pair: None, resolve: Resolve, models: Path, tmp_path: Path, older: bool
) -> None:
    output = tmp_path / "out 出力.safetensors"
    if older:
        shutil.copy(resolve("a"), output)
    process = start(models, output)
    wait_for_half(process)
    process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait()
    left = [path for path in tmp_path.iterdir() if path.is_file() and path != output]
    assert sorted(path.suffix for path in left) == [".astolfo-journal", ".astolfo-part"]
    assert output.exists() == older
    if older:
        assert output.read_bytes() == resolve("a").read_bytes()
    merge(RECIPE, resolve, output, overwrite=True)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == [output]
    assert torch.equal(load(output)[LARGE], load(resolve("a"))[LARGE].lerp(load(resolve("b"))[LARGE], 0.3))


def during(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> Callable[[int, int, str], None]:
    """A progress callback that does something once, in the middle."""
    monkeypatch.setattr(workers, "PROGRESS_STEP", 1 << 20)
    pending = [action]

    def progress(done: int, total: int, text: str) -> None:
        if pending and done * 3 > total:
            pending.pop()()

    return progress


@pytest.mark.skipif(os.name == "nt", reason="Windows does not let an open file be removed")
def test_inputs_removed_or_replaced_by_another_are_read_on(
    pair: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(RECIPE, resolve, tmp_path / "right.safetensors")
    shutil.copy(resolve("a"), tmp_path / "other")

    def change() -> None:
        resolve("a").unlink()
        os.replace(tmp_path / "other", resolve("b"))

    merge(RECIPE, resolve, tmp_path / "out.safetensors", progress=during(monkeypatch, change))
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "right.safetensors").read_bytes()


@pytest.mark.parametrize("how", ["written", "truncated"])
def test_inputs_changed_in_place_end_the_merge(
    pair: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def change() -> None:
        with resolve("b").open("r+b") as file:
            if how == "truncated":
                file.truncate(1000)
            else:
                file.seek(-10, os.SEEK_END)
                file.write(b"x")

    with pytest.raises(Failed, match=r"b\.safetensors.*(written to|shorter)"):
        merge(RECIPE, resolve, tmp_path / "out.safetensors", progress=during(monkeypatch, change))
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_disk_that_is_too_small(
    pair: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: type(usage)(usage.total, usage.used, 1000))
        with pytest.raises(Failed, match="free"):
            merge(RECIPE, resolve, tmp_path / "out.safetensors")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="pwrite is replaced")
def test_a_disk_that_fills_up_midway(
    pair: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = os.pwrite, [0]

    def full(fd: int, data: bytes, offset: int) -> int:
        written[0] += len(data)
        if written[0] > 10 << 20:
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Failed, match="disk is full"):
        merge(RECIPE, resolve, tmp_path / "out.safetensors")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="fdatasync is replaced")
def test_a_disk_that_fails_while_it_is_flushed(
    pair: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells a failed flush once; it must not be forgotten before the file takes its name."""

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(flushing, "FLUSH", 4 << 20)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(Failed, match="disk failed"):
        merge(RECIPE, resolve, tmp_path / "out.safetensors")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="fdatasync is watched")
def test_flushing_begins_before_the_end(
    pair: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, flushed = os.fdatasync, []

    def watched(fd: int) -> None:
        flushed.append(fd)
        real(fd)

    monkeypatch.setattr(flushing, "FLUSH", 4 << 20)
    monkeypatch.setattr(os, "fdatasync", watched)
    merge(RECIPE, resolve, tmp_path / "out.safetensors")
    assert flushed
