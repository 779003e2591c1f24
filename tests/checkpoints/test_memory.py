"""What is remembered comes back, survives two writers and a kill, and a damaged file stays as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.checkpoints.locks import locked
from lib_astolfo.checkpoints.memory import Memory, Remembered
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput, Failed

ROOT = Path(__file__).resolve().parents[2]
HASH = "31e35c80fc"
V = Remembered(Sampling("v", zero_terminal_snr=True), None, 0.7, "模型 ΣΙΗ.safetensors")


def test_what_is_remembered_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "outputs" / "memory.json"
    memory = Memory(path)
    assert (memory.get(HASH), memory.all(), path.exists()) == (None, {}, False)
    memory.remember(HASH, V)
    rf = Remembered(Sampling("rf", shift=3.0), Uncond("average", weight=0.7, start=0.2), 0.0, "a.safetensors")
    memory.remember("0123456789", rf)
    for each in (memory, Memory(path)):
        assert each.get(HASH.upper()) == V
        assert list(each.all().items()) == [("0123456789", rf), (HASH, V)]
    assert json.loads(path.read_text("utf-8"))["version"] == 1
    memory.forget(HASH)
    memory.forget(HASH)
    assert Memory(path).all() == {"0123456789": rf}


def test_another_writer_is_seen_at_once(tmp_path: Path) -> None:
    one, other = Memory(tmp_path / "memory.json"), Memory(tmp_path / "memory.json")
    one.remember(HASH, V)
    assert other.get(HASH) == V
    other.remember(HASH, Remembered(uncond=Uncond("zero")))
    assert one.get(HASH) == Remembered(uncond=Uncond("zero"))
    one.path.unlink()
    assert one.get(HASH) is None


def test_a_file_that_was_seen_need_not_be_hashed_again(tmp_path: Path) -> None:
    memory, file = Memory(tmp_path / "memory.json"), tmp_path / "models" / "a.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"1234")
    memory.saw(HASH, file)  # nothing is remembered for it
    assert (memory.hash_of(file), memory.path.exists()) == (None, False)
    memory.remember(HASH, V, file)
    memory.remember(HASH, V)
    assert Memory(memory.path).hash_of(file) == HASH
    moved = file.rename(tmp_path / "a.safetensors")
    assert memory.hash_of(moved) == HASH
    renamed = moved.rename(tmp_path / "b.safetensors")
    assert memory.hash_of(renamed) is None
    memory.saw(HASH, renamed)
    assert memory.hash_of(renamed) == HASH
    os.utime(renamed, ns=(1, 1))
    assert memory.hash_of(renamed) is None
    memory.saw(HASH, renamed)
    memory.forget(HASH)
    assert (memory.hash_of(renamed), memory.hash_of(tmp_path / "gone")) == (None, None)


WRITER = """
import sys
from pathlib import Path
from lib_astolfo.checkpoints.memory import Memory, Remembered
for n in range(20):
    Memory(Path(sys.argv[1])).remember(f"{sys.argv[2]}{n:09x}", Remembered(cfg_rescale=0.5, name=sys.argv[2]))
"""


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    path, environ = tmp_path / "memory.json", {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), who], env=environ) for who in "ab"]
    assert [process.wait(120) for process in running] == [0, 0]
    assert sorted(Memory(path).all()) == [f"{who}{n:09x}" for who in "ab" for n in range(20)]


def test_threads_lose_nothing(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory.json")

    def write(first: int) -> None:
        for n in range(10):
            memory.remember(f"{first}{n:09x}", V)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory.all()) == 40


def test_a_writer_waits_for_the_lock_and_then_says_who_has_it(tmp_path: Path) -> None:
    with locked(tmp_path / "x.lock"), pytest.raises(Failed, match=r"x\.lock"), locked(tmp_path / "x.lock", 0.1):
        pass
    with locked(tmp_path / "x.lock", 0.1):
        pass


ENTRY: dict[str, Any] = V.to_dict()


def of(**changes: Any) -> str:
    return json.dumps({"version": 1, "checkpoints": {HASH: {**ENTRY, **changes}}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        of()[:-20],
        '{"version": 2, "checkpoints": {}}',
        '{"version": true, "checkpoints": {}}',
        '{"version": 1}',
        '{"version": 1, "checkpoints": {"xyz": {}}}',
        '{"version": 1, "checkpoints": {"31e35c80fc": []}}',
        of(cfg_rescale=2),
        of(cfg_rescale=float("nan")),
        of(sampling={"prediction": "eps", "zero_terminal_snr": True}),
        of(uncond="null"),
        of(name=3),
        of(extra=1),
        '{"version": 1, "checkpoints": {}, "seen": []}',
        '{"version": 1, "checkpoints": {}, "seen": {"31e35c80fc": ["a", "1", 2]}}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path, text: str) -> None:
    memory = Memory(tmp_path / "memory.json")
    memory.path.write_bytes(before := text.encode("utf-8", "surrogateescape"))
    for attempt in (lambda: memory.get(HASH), memory.all, lambda: memory.remember(HASH, V)):
        with pytest.raises(BadInput, match=r"memory\.json"):
            attempt()
    with pytest.raises(BadInput, match=r"memory\.json"):
        memory.forget(HASH)
    assert memory.path.read_bytes() == before
    memory.path.unlink()
    memory.remember(HASH, V)
    assert memory.get(HASH) == V


@pytest.mark.parametrize("bad", ["", "31e35c80f", "31e35c80fcc", "31e35c80fg", "../31e35c8", None])
def test_only_hashes_are_keys(tmp_path: Path, bad: Any) -> None:
    memory = Memory(tmp_path / "memory.json")
    with pytest.raises(BadInput, match="sha256"):
        memory.remember(bad, V)
    with pytest.raises(BadInput, match="sha256"):
        memory.get(bad)


@pytest.mark.parametrize(
    "values", [{"cfg_rescale": True}, {"cfg_rescale": -0.1}, {"sampling": "v"}, {"uncond": "null"}, {"name": "\udcff"}]
)
def test_bad_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Remembered(**values)


def test_nothing_is_not_remembered(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="forget"):
        Memory(tmp_path / "memory.json").remember(HASH, Remembered(name="a"))
    assert os.listdir(tmp_path) == []


def test_a_folder_in_its_place_is_no_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.json").mkdir()
    with pytest.raises(BadInput, match=r"memory\.json"):
        Memory(tmp_path / "memory.json").remember(HASH, V)
