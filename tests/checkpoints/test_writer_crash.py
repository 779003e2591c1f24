"""Writers in trouble: full disks, kill -9, leftovers, two writers of one name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lib_astolfo.checkpoints import files
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import StreamingWriter, save
from lib_astolfo.errors import Failed

ROOT = Path(__file__).resolve().parents[2]


POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_too_little_disk_is_found_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(Failed, match="free"):
        save(tmp_path / "a.safetensors", {"a": torch.zeros(10_000)})
    assert os.listdir(tmp_path) == []


LIMITED = """
import resource, signal, sys, os, torch
from lib_astolfo.checkpoints.writer import StreamingWriter
from lib_astolfo.errors import Failed
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
early, path = sys.argv[1] == "early", sys.argv[2]
limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    if early: limit()
    with StreamingWriter(path, [("a", torch.float32, (100_000,))], overwrite=True) as writer:
        limit()
        writer.write(writer.begin("a"), torch.zeros(100_000))
except Failed as error:
    print(error); sys.exit(7)
"""


@POSIX
@pytest.mark.parametrize("when", ["early", "late"])
def test_a_disk_that_fills_up_is_survived(tmp_path: Path, when: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"the old file")
    result = run(LIMITED, when, str(path))
    assert result.returncode == 7, result.stderr
    assert "disk is full" in result.stdout
    assert os.listdir(tmp_path) == ["a.safetensors"]
    assert path.read_bytes() == b"the old file"


@POSIX
def test_a_real_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount a small disk")
    try:
        with pytest.raises(Failed, match="free"):
            save(disk / "big.safetensors", {"a": torch.zeros(1_000_000)})
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        writer = StreamingWriter(disk / "a.safetensors", [("a", torch.float32, (150_000,))])
        with pytest.raises(Failed, match="disk is full"), writer:
            (disk / "other").write_bytes(bytes(700_000))
            writer.write(writer.begin("a"), torch.zeros(150_000))
        assert os.listdir(disk) == ["other"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


KILLED = """
import sys, time, torch
from lib_astolfo.checkpoints.writer import StreamingWriter
with StreamingWriter(sys.argv[1], [("a", torch.float32, (1000,)), ("b", torch.float32, (1000,))]) as writer:
    writer.write(writer.begin("a"), torch.ones(1000))
    print("writing", flush=True)
    time.sleep(100)
"""


@POSIX
def test_kill_leaves_a_part_that_the_next_writer_removes(tmp_path: Path) -> None:
    path = tmp_path / "my model ΣΙΗ.safetensors"
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        assert files.remove_leftovers(path) == []  # its writer is alive
        process.send_signal(signal.SIGKILL)
    (part,) = os.listdir(tmp_path)
    assert part.startswith(".my model ΣΙΗ.safetensors.")
    assert part.endswith(".astolfo-part")
    save(tmp_path / "my model.safetensors", {"a": torch.zeros(1)})  # another name: not its business
    assert part in os.listdir(tmp_path)
    save(path, {"a": torch.ones(2)})
    assert sorted(os.listdir(tmp_path)) == ["my model ΣΙΗ.safetensors", "my model.safetensors"]


@pytest.mark.parametrize("other", ["b", "a.v2", "aa", "ä", ""])
def test_only_leftovers_of_the_own_name_are_removed(tmp_path: Path, other: str) -> None:
    own = tmp_path / f"{files.part_prefix('a.safetensors')}77-00{files.PART}"
    foreign = tmp_path / f"{files.part_prefix(f'{other}.safetensors')}77-00{files.PART}"
    own.write_bytes(b"half")
    foreign.write_bytes(b"half")
    save(tmp_path / "a.safetensors", {"a": torch.zeros(1)})
    assert sorted(os.listdir(tmp_path)) == sorted(["a.safetensors", foreign.name])


def test_two_writers_of_one_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with StreamingWriter(path, [("a", torch.float32, (3,))], overwrite=True) as writer:
        save(path, {"a": torch.zeros(3)})
        writer.write(writer.begin("a"), torch.ones(3))
    with CheckpointFile.open(path) as file:
        assert float(file.tensor("a")[0]) == 1.0
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_new_file_that_was_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    create = os.open

    def opening(path: str, flags: int, mode: int = 0o777) -> int:
        fd = create(path, flags, mode)
        if str(path).endswith(files.PART) and flags & os.O_CREAT:
            opened.append(str(path))
            if len(opened) == 1:
                os.unlink(path)  # as another writer would, between the opening and the lock
        return fd

    monkeypatch.setattr(os, "open", opening)
    save(tmp_path / "a.safetensors", {"a": torch.zeros(3)})
    assert len(opened) == 2
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_small_text_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Failed, match="No space"):
        files.write_text(tmp_path / "a.yaml", "text")
    assert os.listdir(tmp_path) == []
