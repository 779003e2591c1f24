"""What is not finite never reaches a weight: pictures are put aside, steps skipped, then rolled back or ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.errors import Failed
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone.model import StandaloneModel
from lib_astolfo.training.checkpointing.store import State, Store
from lib_astolfo.training.data import samples
from lib_astolfo.training.optim import optimiser
from lib_astolfo.training.run.run import Run
from lib_astolfo.training.run.seen import Free
from tests.training.run import small


def last(folder: Path) -> State:
    found = Store(folder / "checkpoints").load()
    assert found is not None
    return found


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    held = [json.loads(line) for line in (folder / "history.jsonl").read_text("utf-8").splitlines()]
    return [row for row in held if row["kind"] == kind]


def spoilt(monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool]) -> None:
    """The network answers NaN in those of its calls; calls with gradients are counted."""
    calls = [0]
    plain = StandaloneModel.predict

    def predict(self: StandaloneModel, *args: Any) -> Tensor:
        found = plain(self, *args)
        if torch.is_grad_enabled():
            calls[0] += 1
            if when(calls[0]):
                return found * float("nan")
        return found

    monkeypatch.setattr(StandaloneModel, "predict", predict)


def test_a_bad_latent_is_put_aside_by_name(
    host: StandaloneHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small.pictures(tmp_path / "data")
    plain, loaded = StandaloneModel.encode_images, samples.load

    def load(path: Path, *args: Any) -> Any:
        bad[0] = path.name == "03.png"
        return loaded(path, *args)

    bad = [False]
    monkeypatch.setattr(samples, "load", load)
    monkeypatch.setattr(
        StandaloneModel, "encode_images", lambda self, images: plain(self, images) * (float("nan") if bad[0] else 1)
    )
    control = Free()
    outcome = small.run(small.settings(data), host, tmp_path / "run", control)
    assert outcome.ended == "done" and outcome.rollbacks == 0
    assert [Path(name).name for name in outcome.quarantined or {}] == ["03.png"]
    assert any("03.png" in text and "not finite" in text for text in control.said)
    assert not any(row["skipped"] for row in rows(tmp_path / "run", "step") if row["items"])
    assert sum(row["items"] for row in rows(tmp_path / "run", "step")) == 4 * 7


def test_a_picture_that_vanishes_is_put_aside(host: StandaloneHost, tmp_path: Path) -> None:
    data = small.pictures(tmp_path / "data")

    class Removing(Free):
        def turn(self, done: int, total: int, text: str = "") -> None:
            (data / "05.png").unlink(missing_ok=True)

    made = small.settings(data, {"data": {"crops": {"crop": "random"}}})  # crops that are never the same are not cached
    outcome = small.run(made, host, tmp_path / "run", Removing())
    assert [Path(name).name for name in outcome.quarantined or {}] == ["05.png"]


def test_one_bad_step_is_skipped(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt(monkeypatch, lambda call: call == 3)
    before: list[int] = []

    class Looking(Free):
        def turn(self, done: int, total: int, text: str = "") -> None:
            if done in (2, 3):
                before.append(small.checksum(last(tmp_path / "run").tensors["weights"]))

    made = small.settings(data, {"plan": {"steps": 6}, "save": {"steps": 1}, "accumulate": 1})
    outcome = small.run(made, host, tmp_path / "run", Looking())
    assert outcome.ended == "done" and outcome.rollbacks == 0
    assert before[0] == before[1]
    held = rows(tmp_path / "run", "step")
    assert [bool(row["skipped"]) for row in held] == [False, False, True, False, False, False]
    assert held[2]["names"] and "nan" in held[2]["skipped"]
    assert small.finite(last(tmp_path / "run").tensors)


def test_one_bad_gradient_skips_the_step(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = optimiser.Weight.gather
    calls = [0]

    def gather(self: optimiser.Weight) -> None:
        calls[0] += 1
        if calls[0] == 100 and self.parameter.grad is not None:
            self.parameter.grad.fill_(float("inf"))
        plain(self)

    monkeypatch.setattr(optimiser.Weight, "gather", gather)
    small.run(small.settings(data, {"plan": {"steps": 4}}), host, tmp_path / "run")
    held = rows(tmp_path / "run", "step")
    assert [bool(row["skipped"]) for row in held] == [False, True, False, False]
    assert "not finite" in held[1]["skipped"] and small.finite(last(tmp_path / "run").tensors)


@pytest.mark.parametrize(("steps", "kind"), [(0, "in_place"), (2, "delta")])
def test_three_in_a_row_are_rolled_back(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, kind: str
) -> None:
    """To the last state, or, where there is none, to the beginning; at half the rates and with other noise."""
    spoilt(monkeypatch, lambda call: call in (4, 5, 6))
    made = small.settings(data, {"plan": {"steps": 8}, "save": {"steps": steps}, "form": {"kind": kind}})
    control = Free()
    outcome = small.run(made, host, tmp_path / "run", control)
    assert outcome.ended == "done" and outcome.rollbacks == 1 and outcome.steps == 8
    back = 2 if steps else 0
    assert any(f"rolled back to step {back}" in text for text in control.said)
    held = rows(tmp_path / "run", "step")
    assert [row["step"] for row in held] == list(range(1, 9)) and not any(row["skipped"] for row in held)
    assert [row["rates"]["unet"] for row in held] == [1e-3] * back + [5e-4] * (8 - back)
    assert len(rows(tmp_path / "run", "rollback")) == 1
    assert last(tmp_path / "run").values["scale"] == 0.5


def test_a_resumed_run_remembers_its_rollbacks(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt(monkeypatch, lambda call: call > 3)
    made = small.settings(data, {"plan": {"steps": 12}, "save": {"steps": 1}, "guards": {"rollbacks": 2}})
    outcome = small.run(made, host, tmp_path / "run")
    assert outcome.ended == "guard" and outcome.rollbacks == 2 and outcome.steps >= 3
    assert "as often as" in outcome.why and small.finite(last(tmp_path / "run").tensors)
    again = small.run(made, host, tmp_path / "run")
    assert again.ended == "guard" and again.rollbacks == 2
    assert {row["rates"]["unet"] for row in rows(tmp_path / "run", "step")[-3:]} == {1e-3 / 4}


def test_three_in_a_row_end_the_run_if_that_is_chosen(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt(monkeypatch, lambda call: call > 3)
    made = small.settings(data, {"plan": {"steps": 9}, "guards": {"nonfinite": "stop"}})
    outcome = small.run(made, host, tmp_path / "run")
    assert outcome.ended == "guard" and outcome.steps == 6 and "3 steps in a row" in outcome.why
    assert outcome.snapshots and small.finite(last(tmp_path / "run").tensors)


def test_a_huge_rate_ends_or_is_rolled_back(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    """A learning rate of 50 for ten steps: whatever happens, no state holds what is not finite."""
    made = small.settings(data, {"plan": {"steps": 10, "rate": 50.0}, "save": {"steps": 1}})
    outcome = small.run(made, host, tmp_path / "run")
    assert outcome.ended in ("done", "guard")
    assert small.finite(last(tmp_path / "run").tensors)


def test_a_full_disk_is_told_and_survived(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, tried = Store.save, []

    def save(self: Store, step: int, *args: Any) -> Path:
        tried.append(step)
        if 3 < step < 9:
            raise Failed("no space left on device")
        return plain(self, step, *args)

    monkeypatch.setattr(Store, "save", save)
    control = Free()
    outcome = small.run(
        small.settings(data, {"save": {"steps": 3}, "plan": {"steps": 8}}), host, tmp_path / "run", control
    )
    assert outcome.ended == "done" and outcome.snapshots and tried == [3, 6, 8]
    assert any("no space" in text for text in control.said) and "no space" in outcome.notes[-1]
    assert last(tmp_path / "run").step == 3
    assert small.run(small.settings(data, {"plan": {"steps": 9}}), host, tmp_path / "run").steps == 9
    assert last(tmp_path / "run").step == 9 and host.model is not None and host.model.showing is None


def test_no_rows_at_all_make_no_step(host: StandaloneHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is put aside: steps are skipped, not divided by zero."""
    data = small.pictures(tmp_path / "data", 2)
    plain = StandaloneModel.encode_images
    calls = [0]

    def encode(self: StandaloneModel, images: Tensor) -> Tensor:
        calls[0] += 1
        return plain(self, images) * (1 if images.shape[-1] == 64 else float("nan"))

    monkeypatch.setattr(StandaloneModel, "encode_images", encode)
    control = Free()
    run = Run(small.settings(data, {"plan": {"steps": 2}}), host, tmp_path / "run", control)
    with pytest.raises(Failed, match="no picture"):
        run.go()
