"""The reader: what it reads, what it refuses, what happens when the file changes under it."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.errors import BadInput, Failed


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal dtype, shape and bits (fp8 has no equality of its own)."""
    return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""


def test_reads_what_the_safetensors_library_wrote(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "a.safetensors", metadata={"title": "héllo"})
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        assert set(file.tensors) == set(tensors)
        assert file.metadata == {"title": "héllo"}
        for name, tensor in tensors.items():
            assert same(file.tensor(name), tensor), name
            info = file.tensors[name]
            assert (info.elements, info.nbytes) == (tensor.numel(), tensor.numel() * tensor.element_size())
        begins = [info.begin for info in file.tensors.values()]
        assert begins == sorted(begins)


def test_views_need_no_copy_and_give_no_warning(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"a": torch.arange(1000.0)})
    with warnings.catch_warnings(), CheckpointFile.open(tmp_path / "a.safetensors") as file:
        warnings.simplefilter("error")
        first, second = file.tensor("a"), file.tensor("a")
    assert first.data_ptr() == second.data_ptr()
    assert float(first[999]) == 999.0  # still there after the file was closed


def test_a_stray_write_to_a_view_does_not_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"a": torch.zeros(4)})
    before = path.read_bytes()
    with CheckpointFile.open(path) as file:
        file.tensor("a").fill_(1.0)
    assert path.read_bytes() == before


def test_data_that_is_not_aligned_is_copied(raw: Callable[..., Path]) -> None:
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   '[:57]
    values = torch.tensor([1.5, -2.0])
    path = raw(header, bits(values))
    assert (8 + len(header)) % 4 != 0
    with CheckpointFile.open(path) as file:
        assert torch.equal(file.tensor("a"), values)
        assert file.tensor("a").data_ptr() % 4 == 0


def test_without_room_for_a_map_tensors_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    save(tmp_path / "a.safetensors", {"a": torch.arange(5.0), "s": torch.tensor(3.0)})
    monkeypatch.setattr(mmap, "mmap", refuse)
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        assert torch.equal(file.tensor("a"), torch.arange(5.0))
        assert torch.equal(file.tensor("s"), torch.tensor(3.0))


def test_read_into_fills_tensors_and_memory_from_any_offset(tmp_path: Path) -> None:
    values = torch.randn(1000).bfloat16()
    save(tmp_path / "a.safetensors", {"a": values})
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        part, memory = torch.empty(10, dtype=torch.bfloat16), bytearray(20)
        file.read_into(part, file.tensors["a"].begin + 2 * 500)
        file.read_into(memoryview(memory), file.tensors["a"].begin + 2 * 500)
        assert torch.equal(part, values[500:510])
        assert bytes(memory) == bits(values[500:510])


@pytest.mark.parametrize("windows", [False, True])
def test_many_threads_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: bool) -> None:
    if windows:  # without preadv, and with a thread that loses its turn between seek and read
        seek = os.lseek
        monkeypatch.delattr(os, "preadv", raising=False)
        monkeypatch.setattr(os, "lseek", lambda *arguments: (seek(*arguments), time.sleep(1e-5))[0])
    values = torch.randint(0, 256, (300_000,), dtype=torch.uint8)
    save(tmp_path / "a.safetensors", {"a": values})
    wrong: list[int] = []
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        begin = file.tensors["a"].begin

        def work(start: int) -> None:
            buffer = torch.empty(1000, dtype=torch.uint8)
            for offset in range(start, 300_000, 4000):
                file.read_into(buffer, begin + offset)
                if not torch.equal(buffer, values[offset : offset + 1000]):
                    wrong.append(offset)

        threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_hash_is_the_files_and_reports_progress(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"a": torch.randn(3000)})
    seen: list[tuple[int, int]] = []
    with CheckpointFile.open(path) as file:
        digest = file.sha256(lambda done, total, text: seen.append((done, total)))
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file.short_hash == digest[:10]
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_the_hash_is_computed_again_only_if_the_bytes_changed(tmp_path: Path) -> None:
    path, seen = tmp_path / "a.safetensors", []
    save(path, {"a": torch.zeros(3000)})
    with CheckpointFile.open(path) as file:
        first = file.sha256()
        save(path, {"a": torch.ones(3000)}, overwrite=True)  # another file; the open one is as it was
        assert file.sha256(lambda *state: seen.append(state)) == first and not seen
    with CheckpointFile.open(path) as file, path.open("r+b") as stream:
        first = file.sha256()
        stream.seek(-4, os.SEEK_END)
        stream.write(b"\0\0\0\0")
        stream.flush()
        assert file.sha256() == hashlib.sha256(path.read_bytes()).hexdigest() != first


def test_a_file_that_is_replaced_is_noticed_and_still_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"a": torch.zeros(100)})
    with CheckpointFile.open(path) as file:
        identity = file.identity()
        assert not file.changed()
        save(path, {"a": torch.ones(100)}, overwrite=True)
        assert file.changed()
        assert file.identity() == identity
        assert float(file.tensor("a").sum()) == 0.0


def test_a_file_that_is_removed_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"a": torch.zeros(100)})
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        (tmp_path / "a.safetensors").unlink()
        assert file.changed()


def test_a_file_that_becomes_shorter_gives_an_error_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"a": torch.zeros(10_000)})
    with CheckpointFile.open(path) as file:
        os.truncate(path, 5_000)
        assert file.changed()
        with pytest.raises(Failed, match=r"a\.safetensors.*shorter"):
            file.read_into(torch.empty(10_000), file.tensors["a"].begin)
        with pytest.raises(Failed, match="shorter"):
            file.tensor("a")


def test_a_closed_file_says_so(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"a": torch.zeros(4)})
    file = CheckpointFile.open(tmp_path / "a.safetensors")
    file.close()
    file.close()
    with pytest.raises(Failed, match="closed"):
        file.tensor("a")


def test_no_descriptor_leaks_when_a_file_is_refused(raw: Callable[..., Path]) -> None:
    path = raw({"a": 3})
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with pytest.raises(BadInput):
            CheckpointFile.open(path)
    assert not before or len(os.listdir("/proc/self/fd")) == before


def entry(shape: object = (2,), offsets: object = (0, 8), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


LIES = {
    "no header at all": ({}, {"length": 1}, "header length"),
    "header longer than the file": ({"a": entry()}, {"length": 5000}, "truncated"),
    "header over 100 MB": ({"a": entry()}, {"length": 2**40}, "header length"),
    "not JSON": (b"{not json at all", {}, "not JSON"),
    "JSON too deep": (b"[" * 100_000, {}, "not JSON"),
    "not UTF-8": (b'{"a\xff":1}', {}, "not UTF-8"),
    "half a surrogate": (b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', {}, "surrogate"),
    "half a surrogate in the metadata": (b'{"__metadata__":{"title":"\\ud800"}}', {}, "surrogate"),
    "a list": ([1, 2], {}, "JSON list"),
    "a name twice": (b'{"a":{"dtype":"F32"},"a":{"dtype":"F32"}}', {}, "twice"),
    "entry is a number": ({"a": 3}, {}, "object with dtype"),
    "unknown dtype": ({"a": entry(dtype="F7")}, {}, "F7"),
    "dtype is a list": ({"a": entry(dtype=["F32"])}, {}, "dtype"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, {}, "shape"),
    "negative shape": ({"a": entry(shape=[-2])}, {}, "shape"),
    "shape of true": ({"a": entry(shape=[True, 2])}, {}, "shape"),
    "shape of fractions": ({"a": entry(shape=[2.0])}, {}, "shape"),
    "negative offsets": ({"a": entry(offsets=[-8, 0])}, {}, "data_offsets"),
    "offsets backwards": ({"a": entry(offsets=[8, 0])}, {}, "data_offsets"),
    "three offsets": ({"a": entry(offsets=[0, 4, 8])}, {}, "data_offsets"),
    "huge offsets": ({"a": entry(offsets=[0, 2**70])}, {}, "data_offsets"),
    "too few bytes for the shape": ({"a": entry(shape=[3])}, {}, "12 for F32"),
    "more bytes than the shape": ({"a": entry(shape=[1])}, {}, "4 for F32"),
    "an overlap": ({"a": entry(), "b": entry(offsets=[4, 12])}, {}, "overlap"),
    "a gap": ({"a": entry([1], [0, 4]), "b": entry([1], [8, 12])}, {}, "gap"),
    "a gap before the first": ({"a": entry(offsets=[8, 16])}, {}, "gap"),
    "bytes of no tensor": ({"a": entry([1], [0, 4])}, {}, "no tensor"),
    "fewer bytes than told": ({"a": entry([5], [0, 20])}, {}, "truncated"),
    "metadata is a list": ({"__metadata__": [1], "a": entry()}, {}, "__metadata__"),
    "metadata of numbers": ({"__metadata__": {"epoch": 3}, "a": entry()}, {}, "'epoch'"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_by_name(raw: Callable[..., Path], lie: str) -> None:
    header, options, message = LIES[lie]
    path = raw(header, bytes(8), name="Ein Lügner.safetensors", **options)
    with pytest.raises(BadInput, match=message) as caught:
        CheckpointFile.open(path)
    assert "Ein Lügner.safetensors" in str(caught.value)
    assert caught.value.expected


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 20, 200, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], keep: int) -> None:
    save(tmp_path / "a.safetensors", tensors)
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(data[:keep])
    with pytest.raises(BadInput, match=r"b\.safetensors"):
        CheckpointFile.open(tmp_path / "b.safetensors")


def test_empty_metadata_and_no_tensors_are_fine(raw: Callable[..., Path]) -> None:
    with CheckpointFile.open(raw({"__metadata__": None})) as file:
        assert (dict(file.metadata), dict(file.tensors)) == ({}, {})


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04" + bytes(50), "zip archive"),
        (b"\x80\x02}q\x00." + bytes(50), "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"<!DOCTYPE html><html>", "web page"),
    ],
)
def test_disguises_are_named(tmp_path: Path, start: bytes, message: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(start)
    with pytest.raises(BadInput, match=message):
        CheckpointFile.open(tmp_path / "a.safetensors")


@pytest.mark.parametrize("length", [640, 1152])
def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path, length: int) -> None:
    text = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    (tmp_path / "a.safetensors").write_bytes(length.to_bytes(8, "little") + text + bytes(4))
    assert (tmp_path / "a.safetensors").read_bytes()[:2] in (b"\x80\x02", b"\x80\x04")
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        assert list(file.tensors) == ["a"]


def test_pickles_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.ckpt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "b.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name, message in {
        "a.ckpt": "pickles can run code",
        "b.safetensors": "pickles can run code",
        "folder.safetensors": "a folder",
        "missing.safetensors": "no such file",
        "nul\0.safetensors": "cannot be opened",
        "a" * 300: "cannot be opened",
    }.items():
        with pytest.raises(BadInput, match=message):
            CheckpointFile.open(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(BadInput, match="pipe"):
        CheckpointFile.open(tmp_path / "a.safetensors")


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that cannot be read")
def test_a_disk_that_fails_is_the_file_s_error() -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        CheckpointFile.open("/proc/self/mem")


def test_a_tensor_with_gaps_is_not_filled_in_a_copy(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"a": torch.arange(6.0)})
    with CheckpointFile.open(tmp_path / "a.safetensors") as file, pytest.raises(RuntimeError):
        file.read_into(torch.zeros(2, 3).t(), file.tensors["a"].begin)


def test_an_unknown_tensor_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    with CheckpointFile.open(tmp_path / "a.safetensors") as file, pytest.raises(BadInput, match="'weights'"):
        file.tensor("weights")


def test_the_library_agrees_on_our_files(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save(tmp_path / "a.safetensors", tensors)
    loaded = load_file(tmp_path / "a.safetensors")
    assert all(same(loaded[name], tensor) for name, tensor in tensors.items())
