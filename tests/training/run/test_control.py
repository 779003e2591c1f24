"""Pause, stop and keep, discard, shutdown; pictures meanwhile; the model taken away; random states."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import Stopped
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.checkpointing.store import Store
from lib_astolfo.training.forms.shown import Shown
from lib_astolfo.training.forms.whole import Delta
from lib_astolfo.training.run.run import Run
from lib_astolfo.training.run.seen import Free
from tests.training.run import small

REQUEST = PictureRequest("a cat", seed=4, steps=3, width=16, height=16)


class Hand(Free):
    """Does something before a step."""

    def __init__(self, at: int, what: Callable[[Hand], None]) -> None:
        super().__init__()
        self.at, self.what, self.texts = at, what, list[str]()

    def turn(self, done: int, total: int, text: str = "") -> None:
        self.texts.append(text)
        if done == self.at:
            self.what(self)

    def end(self, reason: str) -> None:
        self.reason = reason
        raise Stopped(reason)


def state(folder: Path) -> int:
    found = Store(folder / "checkpoints").load()
    return found.step if found is not None else 0


def weights(host: StandaloneHost) -> int:
    assert host.model is not None
    return small.checksum(host.model.weights())


@pytest.mark.parametrize("kind", ["delta", "in_place", "lora"])
@pytest.mark.parametrize("reason", ["stop", "discard", "shutdown"])
def test_ends(host: StandaloneHost, data: Path, tmp_path: Path, reason: str, kind: str) -> None:
    before = weights(host)
    made = small.settings(data, {"form": {"kind": kind}, "plan": {"steps": 6}})
    outcome = Run(made, host, tmp_path, Hand(3, lambda hand: hand.end(reason))).go()
    assert outcome.steps == 3 and outcome.total == 6
    assert outcome.ended == {"stop": "stopped", "discard": "discarded", "shutdown": "shutdown"}[reason]
    assert weights(host) == before
    assert host.model is not None and host.model.showing is None
    assert state(tmp_path) == (0 if reason == "discard" else 3)
    assert bool(outcome.snapshots) == (reason == "stop")
    if reason == "shutdown":
        assert Run(made, host, tmp_path, Free()).go().steps == 6


def test_a_snapshot_says_where_it_comes_from(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    outcome = small.run(small.settings(data, {"plan": {"steps": 2}}), host, tmp_path)
    with CheckpointFile.open(tmp_path / outcome.last) as file:
        said = file.metadata
    assert host.model is not None
    assert said["astolfo.parent.hash"] == host.model.source.short_hash
    assert said["astolfo.training.step"] == "2" and len(said["astolfo.dataset"]) == 64
    assert '"prediction": "eps"' in said["astolfo.sampling"]


def test_a_pause_saves_first(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    """Asked for between the second and third pass of step 3: the state of two steps is on the disk when it waits."""
    found: list[int] = []

    class Pausing(Free):
        calls = 0

        @property
        def paused(self) -> bool:
            self.calls += 1
            return 8 <= self.calls < 12

        def turn(self, done: int, total: int, text: str = "") -> None:
            if 8 <= self.calls < 12:
                found.append(state(tmp_path))

    made = small.settings(data, {"plan": {"steps": 4}, "batch": 1, "accumulate": 3})
    held = small.run(made, host, tmp_path / "plain")
    Run(made, host, tmp_path, Pausing()).go()
    assert found and min(found) >= 2
    plain, paused = Store(tmp_path / "plain" / "checkpoints").load(), Store(tmp_path / "checkpoints").load()
    assert plain is not None and paused is not None and held.steps == 4
    assert small.checksum(plain.tensors["weights"]) == small.checksum(paused.tensors["weights"])


def test_an_exception_keeps_what_was_learned(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    before = weights(host)

    def fail(hand: Hand) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Run(small.settings(data), host, tmp_path, Hand(3, fail)).go()
    assert state(tmp_path) == 3 and weights(host) == before
    assert host.model is not None and host.model.showing is None


def test_global_random_states_are_not_spent(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state())

    changes: dict[str, Any] = {
        "plan": {"steps": 4},
        "form": {"kind": "lora", "rank": 2},
        "watch": {"validation": {"share": 0.2, "every": 2}, "drift": {"every": 2, "pictures": 2}},
        "data": {"captions": {"shuffle": True}, "crops": {"crop": "random", "flip": 0.5}},
    }
    seen: list[tuple[Any, ...]] = []

    class Looking(Free):
        def turn(self, done: int, total: int, text: str = "") -> None:
            seen.append(states())

    before = states()
    Run(small.settings(data, changes), host, tmp_path, Looking()).go()
    assert len(seen) >= 4 and all(each == before for each in seen) and states() == before


def drawn(host: StandaloneHost) -> bytes:
    return host.generate([REQUEST])[0].image.tobytes()


def test_pictures_meanwhile(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    """At ratio 0 they are those without a training, at 1 not, at 0 again; none waits longer than a step."""
    plain, found, steps = drawn(host), dict[str, bytes](), list[int]()
    stood = threading.Event()
    shown: list[Shown] = []

    def stand(one: Shown) -> None:
        shown.append(one)
        stood.set()

    run = Run(
        small.settings(data, {"plan": {"epochs": 400, "rate": 1e-2}, "show": {"ratio": 0.0}}),
        host,
        tmp_path,
        Free(),
        shown=stand,
    )

    def ask() -> None:
        assert stood.wait(60)
        for name, ratio in (("base", 0.0), ("trained", 1.0), ("base again", 0.0)):
            while run.done < 3:
                time.sleep(0.01)
            shown[0].ratio = ratio
            with host.lock():
                pass
            before = run.done
            with host.lock():
                steps.append(run.done - before)
                found[name] = drawn(host)
        hand.reason = "stop"

    class Stopping(Free):
        def turn(self, done: int, total: int, text: str = "") -> None:
            if self.reason:
                raise Stopped(self.reason)

    hand = Stopping()
    run.control = hand
    thread = threading.Thread(target=ask)
    thread.start()
    outcome = run.go()
    thread.join()
    assert outcome.ended == "stopped" and outcome.steps >= 3
    assert found["base"] == plain and found["base again"] == plain and found["trained"] != plain
    assert max(steps) <= 1
    assert drawn(host) == plain


def test_weights_of_pictures_take_no_memory_in_a_step(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is mixed for a picture at a ratio is as much as all weights, and would be beside gradients and state."""
    shown: list[Shown] = []
    kept: dict[str, list[int]] = {"drawn": [], "forward": []}
    forward = Delta._standing_in

    def standing_in(form: Delta, now: Any) -> Any:
        kept["forward"].append(len(shown[0]._mixed))
        return forward(form, now)

    class Drawing(Free):
        def turn(self, done: int, total: int, text: str = "") -> None:
            drawn(host)
            kept["drawn"].append(len(shown[0]._mixed))

    monkeypatch.setattr(Delta, "_standing_in", standing_in)
    made = small.settings(data, {"plan": {"steps": 2}, "batch": 1, "accumulate": 2, "show": {"ratio": 0.5}})
    Run(made, host, tmp_path, Drawing(), shown=shown.append).go()
    assert min(kept["drawn"]) > 0 and len(kept["forward"]) >= 4 and set(kept["forward"]) == {0}


def test_stopped_while_it_measures(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    """Asked for in the middle of the validation after two steps; gone on with, it is the run that was not stopped."""

    class Stopping(Free):
        calls = 0

        def report(self, done: int, total: int, text: str = "") -> None:
            self.calls += text == "measuring" and done == 2
            if self.calls == 3:
                self.reason = "stop"
                raise Stopped("stop")

    watch = {"validation": {"share": 0.2, "every": 2, "times": [0.2, 0.7]}, "tensorboard": False}
    made = small.settings(data, {"plan": {"steps": 4}, "watch": watch})
    small.run(made, host, tmp_path / "plain")
    outcome = Run(made, host, tmp_path / "run", Stopping()).go()
    assert outcome.ended == "stopped" and outcome.steps == 2 and state(tmp_path / "run") == 2
    assert small.run(made, host, tmp_path / "run").ended == "done"
    names = ("plain/history.jsonl", "run/history.jsonl")
    assert (tmp_path / names[0]).read_bytes() == (tmp_path / names[1]).read_bytes()
