"""States on disk: complete, verified, pruned late; damaged ones are passed over with the reason."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints import files
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.training.checkpointing import manifest
from lib_astolfo.training.checkpointing.store import Store
from tests.training.optim import killed


def saved(folder: Path, steps: range, keep: int = 3) -> Store:
    store = Store(folder, keep)
    for step in steps:
        store.save(step, killed.contents(step), {"step": step, "text": "dōmo"})
    return store


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("step-"))


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    tensors = {
        "weights": {"a": torch.randn(3, 4), "half": torch.randn(2).bfloat16(), "none": torch.empty(0)},
        "optimiser": {"a|count": torch.tensor(7.0), "bytes": torch.arange(5, dtype=torch.uint8)},
    }
    values = {"rate": 1 / 3, "names": ["x"], "nothing": None}
    folder = Store(tmp_path / "run").save(40, tensors, values)
    assert folder.name == "step-00000040"
    state = Store(tmp_path / "run").load()
    assert state is not None and (state.step, state.values, state.passed_over) == (40, values, ())
    for part, held in tensors.items():
        assert state.tensors[part].keys() == held.keys()
        assert all(torch.equal(state.tensors[part][name], tensor) for name, tensor in held.items())
    assert Store(tmp_path / "empty").load() is None


def test_old_states_go_and_the_latest_is_named(tmp_path: Path) -> None:
    saved(tmp_path, range(1, 6))
    assert states(tmp_path) == [f"step-0000000{n}" for n in (3, 4, 5)]
    assert (tmp_path / "latest").read_text() == "step-00000005\n"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "text"),
    [
        ("weights.safetensors", flip, "other content"),
        ("optimiser.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes"),
        ("weights.safetensors", lambda path: path.unlink(), "cannot be read"),
        ("values.json", flip, "other content"),
        ("manifest.json", lambda path: path.unlink(), "no manifest"),
        ("manifest.json", lambda path: path.write_text("{}"), "no manifest"),
        ("manifest.json", lambda path: path.write_text("[1]"), "no manifest"),
    ],
)
def test_a_damaged_state_is_passed_over_and_told(tmp_path: Path, name: str, damage: object, text: str) -> None:
    store = saved(tmp_path, range(1, 4))
    damage(tmp_path / "step-00000003" / name)  # type: ignore[operator]
    state = store.load()
    assert state is not None and state.step == 2
    assert len(state.passed_over) == 1 and text in state.passed_over[0] and "step-00000003" in state.passed_over[0]


def test_when_nothing_is_whole_that_is_an_error(tmp_path: Path) -> None:
    store = saved(tmp_path, range(1, 3))
    for state in states(tmp_path):
        flip(tmp_path / state / "weights.safetensors")
    with pytest.raises(BadInput, match=r"no state that is whole.*step-00000002.*step-00000001"):
        store.load()


@pytest.mark.parametrize("latest", [None, "", "step-00000099\n", "../elsewhere\n", "\0"])
def test_without_a_good_latest_the_newest_is_taken(tmp_path: Path, latest: str | None) -> None:
    store = saved(tmp_path, range(1, 4))
    (tmp_path / "latest").unlink() if latest is None else (tmp_path / "latest").write_text(latest)
    state = store.load()
    assert state is not None and state.step == 3


def test_after_a_roll_back_the_last_saved_counts_not_the_highest(tmp_path: Path) -> None:
    store = saved(tmp_path, range(1, 4))
    store.save(2, killed.contents(2), {"step": 2, "again": True})
    (tmp_path / "latest").unlink()
    state = store.load()
    assert state is not None and state.folder.name == "step-00000002-2" and state.values["again"]
    assert states(tmp_path) == ["step-00000002", "step-00000002-2", "step-00000003"]


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    store = saved(tmp_path, range(1, 2))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(Failed, match=r"optimiser: w\|mean"):
        store.save(2, {"weights": {}, "optimiser": {"w|mean": torch.tensor([0.0, float("nan")])}}, {})
    with pytest.raises(ValueError, match="JSON"):
        store.save(2, {}, {"loss": float("nan")})
    with pytest.raises(BadInput, match="part"):
        store.save(2, {"../weights": {}}, {})
    assert sorted(os.listdir(tmp_path)) == before
    with pytest.raises(BadInput, match="keep"):
        Store(tmp_path, 1)


@pytest.mark.parametrize("calls", [0, 3, 6, 8, 9, 11, 12])
def test_a_disk_that_fails_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """The nth flush or renaming of a save fails, whichever it is."""
    store = saved(tmp_path, range(1, 3))
    count = [0]

    def failing(real):  # type: ignore[no-untyped-def]
        def call(*args: object) -> object:
            count[0] += 1
            if count[0] > calls:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        return call

    for name in ("fsync", "rename", "replace"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    with pytest.raises(Failed, match="No space left"):
        store.save(3, killed.contents(3), {"step": 3})
    monkeypatch.undo()
    state = store.load()
    assert state is not None and state.step == 2 and state.passed_over == ()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    assert saved(tmp_path, range(3, 4)).load().step == 3  # type: ignore[union-attr]


def test_nothing_is_pruned_before_the_new_state_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = saved(tmp_path, range(1, 3), keep=2)
    seen: list[list[str]] = []
    real = files.write_text

    def watched(path: Path, text: str, **options: bool) -> None:
        real(path, text, **options)
        if path.name == "latest":
            seen.append(states(tmp_path))

    monkeypatch.setattr(files, "write_text", watched)
    store.save(3, killed.contents(3), {})
    assert seen == [["step-00000001", "step-00000002", "step-00000003"]]
    assert states(tmp_path) == ["step-00000002", "step-00000003"]


def test_the_manifest_is_written_last_and_holds_every_file(tmp_path: Path) -> None:
    folder = saved(tmp_path, range(1, 2)).folder / "step-00000001"
    found = manifest.verify(folder)
    assert set(found.files) == {"weights.safetensors", "optimiser.safetensors", "values.json"}
    assert all((folder / name).stat().st_size == size for name, (size, _) in found.files.items())
    newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert newest.name == "manifest.json"


def test_a_manifest_of_another_format_or_with_paths_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, range(1, 2)).folder / "step-00000001"
    values = json.loads((folder / "manifest.json").read_text())
    for change, text in (({"format": 2}, "newer Astolfo"), ({"files": {"../latest": [1, "0"]}}, "within the folder")):
        (folder / "manifest.json").write_text(json.dumps({**values, **change}))
        with pytest.raises(BadInput, match=text):
            manifest.verify(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_forty_kills(tmp_path: Path) -> None:
    """kill -9 at random moments; ``killed.check`` looks after each. Some must have come amid a save, else this shows
    nothing."""
    seen = killed.run(tmp_path, 40)
    assert seen["kills"] == 40 and seen["half written"] > 5
