"""A run that was killed and gone on with is the run that was not: weights, optimiser, average, history, files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.checkpointing.store import State, Store
from lib_astolfo.training.run.run import Run
from lib_astolfo.training.run.seen import Free
from lib_astolfo.training.run.settings import RunSettings
from tests.training.run import small

FORMS = ("delta", "full", "in_place", "lora", "lokr")
OPTIMISERS = ("adamw", "adafactor", "lion", "prodigy")


class Copying(Free):
    """Before step ``at`` (within it, if ``within``) the folder is copied as a process killed then would leave it."""

    def __init__(self, folder: Path, at: int, *, within: bool = False) -> None:
        super().__init__()
        self.folder, self.copy, self.at, self.within = folder, folder.with_name("copy"), at, within
        self.calls = 0

    def turn(self, done: int, total: int, text: str = "") -> None:
        self.calls += done == self.at
        if self.calls == (2 if self.within else 1) and done == self.at and not self.copy.exists():
            shutil.copytree(self.folder, self.copy)


def last(folder: Path) -> State:
    state = Store(folder / "checkpoints").load()
    assert state is not None and state.passed_over == ()
    return state


def same(first: State, second: State) -> None:
    assert first.step == second.step and first.values == second.values
    assert set(first.tensors) == set(second.tensors)
    for part, held in first.tensors.items():
        assert set(held) == set(second.tensors[part])
        for name, tensor in held.items():
            assert torch.equal(tensor, second.tensors[part][name]), f"{part} {name}"


def files(folder: Path) -> dict[str, bytes]:
    """What a run writes for people and for merging, without checkpoints and caches."""
    kept = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"]
    names = {path.relative_to(folder).as_posix(): path for path in kept}
    return {
        name: path.read_bytes() for name, path in names.items() if name.split("/")[0] not in ("checkpoints", "cache")
    }


def check(host: StandaloneHost, made: RunSettings, tmp_path: Path, cut: int, *, within: bool = False) -> None:
    """A run, and its copy of before step ``cut`` gone on with, whose state is older than that."""
    folder = tmp_path / "run"
    control = Copying(folder, cut, within=within)
    Run(made, host, folder, control).go()
    started = last(control.copy).step
    assert 0 < started < cut
    outcome = Run(made, host, control.copy, Free()).go()
    assert outcome.ended == "done"
    same(last(folder), last(control.copy))
    assert files(folder) == files(control.copy)


@pytest.mark.parametrize("kind", FORMS)
def test_every_form(host: StandaloneHost, data: Path, tmp_path: Path, kind: str) -> None:
    words = ["OUT05", "M00", "te1"] if kind == "full" else ["OUT05"]
    changes = {
        "form": {"kind": kind, "rank": 2},
        "select": [{"name": "all", "words": words, "rate": 0.0}],
        "plan": {"steps": 9},
        "save": {"steps": 4},
        "ema": {"decay": 0.9},
    }
    check(host, small.settings(data, changes), tmp_path, 6)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_in_bfloat16(host: StandaloneHost, data: Path, tmp_path: Path, name: str) -> None:
    """Weights in bfloat16 with stochastic rounding: its draws go on too."""
    changes = {
        "form": {"kind": "full", "dtype": "bf16"},
        "compute": "bf16",
        "optimiser": {"optimiser": name, "fused": name == "lion"},
        "select": [{"name": "all", "words": ["OUT05"], "rate": 0.0}],
        "plan": {"steps": 8, "rate": 1.0 if name == "prodigy" else 1e-3},
        "save": {"steps": 3},
    }
    check(host, small.settings(data, changes), tmp_path, 5)


def test_forty_steps_are_seventeen_and_twenty_three(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    """Killed within step 18's three passes, with phases, dropped captions, shuffled tags, an average, validation."""
    changes = {
        "accumulate": 3,
        "batch": 1,
        "ema": {"decay": 0.99},
        "plan": {
            "steps": 40,
            "phases": [
                {"epochs": 6, "resolution": 0, "rate": 1e-3, "kind": "cosine", "warmup": 0.1},
                {"epochs": 20, "resolution": 16, "rate": 5e-4, "kind": "cosine_restarts", "cycles": 2},
            ],
        },
        "save": {"steps": 17},
        "snapshots": {"epochs": 3},
        "watch": {
            "validation": {"share": 0.2, "every": 10, "times": [0.3, 0.7]},
            "drift": {"every": 20, "pictures": 2},
        },
        "data": {
            "sources": [{"path": str(data), "repeats": 1.5}],
            "captions": {"shuffle": True, "keep": 1, "tag_dropout": 0.2},
            "crops": {"crop": "random", "flip": 0.5, "variants": 2},
        },
        "objective": {
            "sampling": {"prediction": "rf", "shift": 2.0},
            "distill": {"share": 0.5},
            "times": {"stratified": True},
        },
        "distill_until": 0.6,
    }
    check(host, small.settings(data, changes), tmp_path, 18, within=True)


def test_changed_pictures_are_told(host: StandaloneHost, tmp_path: Path) -> None:
    data = small.pictures(tmp_path / "data")
    made = small.settings(data, {"plan": {"steps": 2}})
    assert not any("changed" in note for note in small.run(made, host, tmp_path / "run").notes)
    (data / "03.txt").write_text("another cat", encoding="utf-8")
    longer = small.settings(data, {"plan": {"steps": 3}})
    assert "have changed" in small.run(longer, host, tmp_path / "run").notes[0]


def test_what_is_not_the_same_run_is_refused(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"plan": {"steps": 2}}
    made = small.settings(data, changes)
    small.run(made, host, tmp_path / "run")
    before = last(tmp_path / "run")
    for other in (
        {"form": {"kind": "full"}},
        {"optimiser": {"optimiser": "lion"}},
        {"select": [{"name": "unet", "words": ["OUT05"], "rate": 0.0}]},
    ):
        with pytest.raises(BadInput):
            small.run(small.settings(data, {**changes, **other}), host, tmp_path / "run")
    weights = host.model.weights()  # type: ignore[union-attr]
    name = next(name for name in weights if "output_blocks" in name)
    with torch.no_grad():
        weights[name].mul_(2)
    try:
        with pytest.raises(BadInput, match="other weights than the run began with"):
            small.run(made, host, tmp_path / "run")
    finally:
        with torch.no_grad():
            weights[name].div_(2)
    same(before, last(tmp_path / "run"))
