"""Files that are refused, by name: lying headers, truncation, other formats in disguise, pipes, failing disks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.errors import BadInput


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
