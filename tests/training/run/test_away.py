"""A training whose model is taken away: it waits, and goes on when the model is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import Failed
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone.model import StandaloneModel
from lib_astolfo.training.checkpointing.store import Store
from lib_astolfo.training.run.outcome import Outcome
from lib_astolfo.training.run.run import Run
from lib_astolfo.training.run.seen import Free
from tests.training.run import small
from tests.training.run.test_control import Hand, state


@pytest.mark.parametrize(("kind", "kept"), [("delta", 3), ("in_place", 2)])
def test_the_model_is_taken_away_and_comes_back(
    own_host: StandaloneHost, data: Path, tmp_path: Path, kind: str, kept: int
) -> None:
    """Unloaded within a step: the run waits, goes on with the model that is loaded again, and is the same run.

    What is trained in place goes with the model, so that run goes back to its last state.
    """
    changes = {"plan": {"steps": 6}, "batch": 1, "accumulate": 2, "save": {"steps": 2}, "form": {"kind": kind}}
    made = small.settings(data, changes)
    small.run(made, own_host, tmp_path / "plain")

    def scaled(by: float) -> None:
        weights = own_host.load(small.NAME).weights()
        next(held for name, held in weights.items() if "output_blocks" in name).mul_(by)

    class Away(Free):
        waited = 0

        def turn(self, done: int, total: int, text: str = "") -> None:
            if done == 3 and not self.waited:
                own_host.unload()
            if text.startswith("waiting"):
                self.waited += 1
                assert state(tmp_path / "run") == kept
                if self.waited == 2:
                    scaled(2.0)  # loaded again, with something merged into it
                elif self.waited == 4:
                    assert "other weights" in text
                    scaled(0.5)

    control = Away()
    outcome: Outcome = Run(made, own_host, tmp_path / "run", control).go()
    assert outcome.ended == "done" and control.waited == 4
    assert any("not loaded" in text for text in control.said)
    plain, other = (Store(tmp_path / name / "checkpoints").load() for name in ("plain", "run"))
    assert plain is not None and other is not None
    assert small.checksum(plain.tensors["weights"]) == small.checksum(other.tensors["weights"])
    assert (tmp_path / "plain/history.jsonl").read_bytes() == (tmp_path / "run/history.jsonl").read_bytes()


def test_something_in_the_way_for_a_while(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host cannot prepare the model (say, fp8 was switched on), then can again: the same model, the same run."""
    made, plain, waited = small.settings(data, {"plan": {"steps": 4}}), StandaloneModel.training, list[str]()
    small.run(made, host, tmp_path / "plain")

    class Waiting(Free):
        blocked = False

        def turn(self, done: int, total: int, text: str = "") -> None:
            waited.extend([text] if "waiting" in text else [])
            self.blocked = done == 2 and len(waited) < 2

    control = Waiting()

    def training(self: StandaloneModel) -> Any:
        if control.blocked:
            raise Failed("the weights are in fp8")
        return plain(self)

    monkeypatch.setattr(StandaloneModel, "training", training)
    assert Run(made, host, tmp_path / "run", control).go().ended == "done"
    assert len(waited) == 2 and "fp8" in waited[0] and any("is back" in text for text in control.said)
    names = ("plain/history.jsonl", "run/history.jsonl")
    assert (tmp_path / names[0]).read_bytes() == (tmp_path / names[1]).read_bytes()


def test_stopped_while_the_model_is_away(own_host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    def leave(hand: Hand) -> None:
        own_host.unload()
        if "waiting" in hand.texts[-1]:
            hand.end("stop")

    outcome = Run(small.settings(data), own_host, tmp_path, Hand(2, leave)).go()
    assert outcome.ended == "stopped" and state(tmp_path) == 2
    assert "not kept" in outcome.notes[-1]


def test_no_model(ground: Path, data: Path, tmp_path: Path) -> None:
    host = StandaloneHost([ground / "models"], tmp_path, device="cpu", architectures=[ground / "architectures"])
    with pytest.raises(Failed, match="no model is loaded"):
        Run(small.settings(data), host, tmp_path / "run", Free()).go()
    outcome = small.run(small.settings(data, {"model": small.NAME, "plan": {"steps": 1}}), host, tmp_path / "run")
    assert outcome.ended == "done"
    host.unload()
