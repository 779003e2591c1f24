"""The writer: same bytes always, complete or not there, a full disk and kill -9 survived."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints import files
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import StreamingWriter, save
from lib_astolfo.errors import BadInput, Failed


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


def test_small_texts_are_written_at_once_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    files.write_text(path, "Ω: 1\n")
    with pytest.raises(BadInput):
        files.write_text(path, "other")
    files.write_text(path, "Ω: 2\n", overwrite=True)
    assert path.read_text("utf-8") == "Ω: 2\n"
    assert os.listdir(tmp_path) == ["a.yaml"]
