"""The writer: same bytes always, complete or not there, a full disk and kill -9 survived."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lib_astolfo.checkpoints import files
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import StreamingWriter, save
from lib_astolfo.errors import BadInput, Failed

ROOT = Path(__file__).resolve().parents[2]
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_round_trip_with_names_of_all_kinds(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    for name in ("plain", "with space", "_x233-ΣΙΗ", "模型 データ", "dots.in.name", "x" * 230):
        path = tmp_path / f"{name}.safetensors"
        save(path, tensors, {"note": "Ωmega"})
        with CheckpointFile.open(path) as file:
            assert set(file.tensors) == set(tensors)
            assert torch.equal(file.tensor("single"), tensors["single"])
            assert file.metadata == {"note": "Ωmega"}
    assert len(list(tmp_path.iterdir())) == 6


def test_the_bytes_do_not_depend_on_order(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save(tmp_path / "a.safetensors", tensors, {"b": "2", "a": "1"})
    shuffled = list(tensors.items())
    random.Random(1).shuffle(shuffled)
    save(tmp_path / "b.safetensors", dict(shuffled), {"b": "2", "a": "1"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_every_tensor_is_aligned(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save(tmp_path / "a.safetensors", tensors)
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        for name, info in file.tensors.items():
            assert info.begin % tensors[name].element_size() == 0, name


@pytest.mark.parametrize("windows", [False, True])
def test_threads_write_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: bool) -> None:
    if windows:  # without pwrite, and with a thread that loses its turn between seek and write
        seek = os.lseek
        monkeypatch.delattr(os, "pwrite", raising=False)
        monkeypatch.setattr(os, "lseek", lambda *arguments: (seek(*arguments), time.sleep(1e-5))[0])
    values = torch.randn(100_000)
    with StreamingWriter(tmp_path / "a.safetensors", [("a", values.dtype, values.shape)]) as writer:
        begin = writer.begin("a")

        def work(first: int) -> None:
            for start in reversed(range(first, 100_000, 4000)):
                writer.write(begin + 4 * start, values[start : start + 1000])

        threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        assert torch.equal(file.tensor("a"), values)


def test_an_exception_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"a": torch.zeros(3)})
    before = path.read_bytes()
    with (
        pytest.raises(KeyboardInterrupt),
        StreamingWriter(path, [("a", torch.float32, (3,))], overwrite=True) as writer,
    ):
        writer.write(writer.begin("a"), torch.ones(3))
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_file_with_missing_bytes_is_never_made(tmp_path: Path) -> None:
    wanted = [("a", torch.float32, (3,)), ("b", torch.float32, (2,))]
    with (
        pytest.raises(Failed, match="8 bytes were never written"),
        StreamingWriter(tmp_path / "a.safetensors", wanted) as writer,
    ):
        writer.write(writer.begin("a"), torch.ones(3))
    assert os.listdir(tmp_path) == []


def test_the_name_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with StreamingWriter(path, [("a", torch.float32, (3,))]) as writer:
        writer.write(writer.begin("a"), torch.ones(3))
        assert not path.exists()
        (part,) = os.listdir(tmp_path)
        assert part.endswith(files.PART)
        assert not part.endswith(".safetensors")
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_nothing_is_overwritten_without_consent(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"a": torch.zeros(3)})
    with pytest.raises(BadInput, match="a file of that name"):
        save(path, {"a": torch.ones(3)})
    save(path, {"a": torch.ones(3)}, overwrite=True)
    with CheckpointFile.open(path) as file:
        assert float(file.tensor("a")[0]) == 1.0


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with (
        pytest.raises(BadInput, match="appeared meanwhile"),
        StreamingWriter(path, [("a", torch.float32, (3,))]) as writer,
    ):
        writer.write(writer.begin("a"), torch.ones(3))
        path.write_bytes(b"somebody else's")
    assert path.read_bytes() == b"somebody else's"
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("name", ["CON", "nul", "com1", "a.ckpt", "LPT9.x", "line\nbreak"])
def test_bad_targets_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / (name if "." in name and not name.startswith("LPT") else f"{name}.safetensors")
    with pytest.raises(BadInput):
        save(path, {"a": torch.zeros(1)})
    assert os.listdir(tmp_path) == []


def test_missing_folders_and_folders_in_the_way_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        save(tmp_path / "missing" / "a.safetensors", {"a": torch.zeros(1)})
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(BadInput, match="folder"):
        save(tmp_path / "a.safetensors", {"a": torch.zeros(1)}, overwrite=True)


def test_what_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(BadInput, match="complex64"):
        save(path, {"a": torch.zeros(1, dtype=torch.complex64)})
    with pytest.raises(BadInput, match="metadata 'n'"):
        save(path, {"a": torch.zeros(1)}, {"n": 3})  # type: ignore[dict-item]
    with pytest.raises(BadInput, match="twice"):
        StreamingWriter(path, [("a", torch.float32, (1,)), ("a", torch.float32, (1,))])
    with pytest.raises(ValueError, match="outside"), StreamingWriter(path, [("a", torch.float32, (1,))]) as writer:
        writer.write(0, bytes(4))
    assert os.listdir(tmp_path) == []


def test_tensors_with_strides_are_written_as_they_look(tmp_path: Path) -> None:
    values = torch.arange(12.0).reshape(3, 4).t()
    save(tmp_path / "a.safetensors", {"a": values, "b": values[1]})
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        assert torch.equal(file.tensor("a"), values)
        assert torch.equal(file.tensor("b"), values[1])


@pytest.mark.parametrize("name", ["x" * 250 + ".safetensors", "\udcff.safetensors", "con .safetensors"])
def test_names_that_no_disk_holds_are_refused_first(tmp_path: Path, name: str) -> None:
    """Not at the end, when a long name would make the finished file fail."""
    with pytest.raises(BadInput, match="name"):
        save(tmp_path / name, {"a": torch.zeros(1)})
    assert os.listdir(tmp_path) == []


def test_a_folder_that_no_disk_holds_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        save(tmp_path / ("x" * 300) / "a.safetensors", {"a": torch.zeros(1)})


@pytest.mark.parametrize(("name", "metadata"), [("\ud800", {}), ("a", {"title": "\udcff"}), ("a", {"\udcff": "x"})])
def test_texts_that_utf8_cannot_hold_are_refused(tmp_path: Path, name: str, metadata: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="surrogate"):
        save(tmp_path / "a.safetensors", {name: torch.zeros(1)}, metadata)
    assert os.listdir(tmp_path) == []


def test_a_name_that_cannot_be_taken_off_the_part_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise PermissionError(13, "used by another process")

    monkeypatch.setattr(os, "unlink", busy)
    save(tmp_path / "a.safetensors", {"a": torch.ones(1)})
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        assert float(file.tensor("a")) == 1.0


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


def test_small_texts_are_written_at_once_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    files.write_text(path, "Ω: 1\n")
    with pytest.raises(BadInput):
        files.write_text(path, "other")
    files.write_text(path, "Ω: 2\n", overwrite=True)
    assert path.read_text("utf-8") == "Ω: 2\n"
    assert os.listdir(tmp_path) == ["a.yaml"]
