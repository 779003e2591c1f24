"""Caches: what is read is what was made; broken files are made anew, whatever broke them; nothing half-written."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints import writer
from lib_astolfo.checkpoints.files import PartFile
from lib_astolfo.errors import Failed
from lib_astolfo.training.data.caches import Cache, CacheKey

KEY: CacheKey = {"kind": "test", "name": "ü", "size": [1, 2], "flag": True}


def tensors(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {
        "a": torch.full((2, 3), value),
        "b": torch.arange(5).to(torch.bfloat16),
        "c": torch.tensor(7),
        "d": torch.empty(0, 3),
    }


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return sorted(one) == sorted(two) and all(
        one[name].dtype == two[name].dtype and torch.equal(one[name], two[name]) for name in one
    )


def test_what_is_read_is_what_was_made(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new" / "folder")
    assert cache.read(KEY) is None
    first = cache.fetch([KEY], lambda _: tensors())
    assert same(first[0], tensors()) and cache.counts.made == 1
    again = Cache(tmp_path / "new" / "folder")
    assert same(again.fetch([KEY], lambda _: pytest.fail("was made again"))[0], tensors())
    assert (again.counts.read, again.counts.made, again.counts.mended) == (1, 0, 0)


def test_the_order_of_a_key_does_not_matter_but_its_values_do(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.path(KEY) == cache.path(dict(reversed(KEY.items())))
    others: list[CacheKey] = [{**KEY, "size": [2, 1]}, {**KEY, "flag": False}, {**KEY, "name": "u"}, {**KEY, "x": 0}]
    assert len({cache.path(key) for key in [KEY, *others]}) == 5


def test_equal_keys_are_made_once_and_order_is_kept(tmp_path: Path) -> None:
    keys: list[CacheKey] = [{"n": 1}, {"n": 2}, {"n": 1}]
    made: list[int] = []

    def make(number: int) -> dict[str, torch.Tensor]:
        made.append(number)
        return tensors(float(number))

    found = Cache(tmp_path).fetch(keys, make)
    assert made == [0, 1] and [float(one["a"][0, 0]) for one in found] == [0, 1, 0]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "another", "old"])
def test_a_broken_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    cache.fetch([KEY, {"n": 2}], lambda number: tensors(float(number)))
    path = cache.path(KEY)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-4])
    elif damage == "flip":
        path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    elif damage == "another":
        path.write_bytes(cache.path({"n": 2}).read_bytes())
    elif damage == "old":
        writer.save(path, tensors(5.0), {"key": "{}"}, overwrite=True)
    else:
        path.write_bytes(b"" if damage == "empty" else b"not a cache at all")
    assert same(cache.fetch([KEY], lambda _: tensors(9.0))[0], tensors(9.0))
    assert cache.counts.mended == 1 and path.stat().st_size == len(whole)
    assert same(Cache(tmp_path).read(KEY) or {}, tensors(9.0))


def test_check_removes_and_names_what_is_broken(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    keys: list[CacheKey] = [{"n": number} for number in range(4)]
    cache.fetch(keys, lambda number: tensors(float(number)))
    bad = cache.path(keys[2])
    bad.write_bytes(bad.read_bytes()[:-1])
    assert cache.check() == [bad] and not bad.exists() and cache.check() == []


def test_values_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(Failed, match="not finite"):
        cache.fetch([KEY], lambda _: {"a": torch.tensor([1.0, float("nan")])})
    assert cache.read(KEY) is None and not list(tmp_path.glob("*/*"))


def test_what_is_given_out_is_not_the_makers_memory(tmp_path: Path) -> None:
    mine = torch.ones(3)
    (kept,) = Cache(tmp_path).fetch([KEY], lambda _: {"a": mine})
    mine.zero_()
    assert kept["a"].tolist() == [1, 1, 1]


def test_a_cache_that_cannot_be_written_costs_speed_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file")
    assert same(cache.fetch([KEY], lambda _: tensors())[0], tensors())
    assert cache.counts.unsaved == 1 and cache.counts.problem


def test_what_a_dead_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.path(KEY).parent.mkdir()
    left = PartFile(cache.path(KEY), True)
    os.close(left.fd)
    assert left.part.exists()
    cache.write(KEY, tensors())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [cache.path(KEY)]


def _fill(folder: Path) -> None:
    torch.set_num_threads(1)
    number = 0
    while True:
        Cache(folder).write({"n": number % 5}, {"a": torch.full((200_000,), float(number % 5))})
        number += 1


def test_killed_writers_leave_nothing_half_written(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for turn in range(8):
        child = context.Process(target=_fill, args=(tmp_path,))
        child.start()
        time.sleep(0.01 + 0.007 * turn)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
    cache = Cache(tmp_path)
    assert cache.check() == []
    for number in range(5):
        cache.write({"n": number}, {"a": torch.zeros(1)})
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".safetensors"] == []
