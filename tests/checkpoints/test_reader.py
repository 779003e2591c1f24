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


def test_a_populated_file_is_seen_without_a_copy_until_it_is_released(tmp_path: Path) -> None:
    values = torch.arange(4096, dtype=torch.float32)
    path = tmp_path / "x.safetensors"
    save_file({"w": values}, str(path))
    with CheckpointFile.open(path) as file:
        begin = file.tensors["w"].begin
        assert file.view(begin, 8, torch.float32) is None
        file.populate()
        seen = file.view(begin + 400, 8, torch.float32)
        if seen is None:
            pytest.skip("this system cannot have all pages of a map at once")
        assert torch.equal(seen, values[100:108])
        assert file.view(begin + 2, 8, torch.float32) is None, "not aligned"
        path.open("r+b").truncate(begin + 4000)
        assert file.view(begin + 4096, 8, torch.float32) is None, "cut off"
        file.release()
        assert file.view(begin, 8, torch.float32) is None
        assert torch.equal(seen, values[100:108])
