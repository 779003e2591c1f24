"""A WebUI that is killed in mid-training is started again, and the run that goes on ends as one never disturbed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from lib_astolfo.training.checkpointing.store import State, Store
from tests.hosts.webui.baking import V1, picture, usual
from tests.hosts.webui.calls import apart
from tests.hosts.webui.runs import at_step, folder_of, job, make_data, start, until
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.training import INSIDE, with_extensions

STEPS, KILLS = 16, (5, 10)
VALUES: dict[str, Any] = {
    "accumulate": 2,
    "plan": {"epochs": 1000, "steps": STEPS, "rate": 1e-3},
    "save": {"steps": 1, "keep": 2},
    "ema": {"decay": 0.9},
    "watch": {"validation": {"share": 0.25, "every": 8, "times": [0.5]}, "tensorboard": False},
}


@pytest.fixture(scope="module")
def trainer(stage: Stage) -> Iterator[Host]:
    with with_extensions(stage, INSIDE) as host:
        make_data(stage)
        yield host


def kill(host: Host, stage: Stage) -> Host:
    """End the WebUI as a power cut would, and start it again."""
    process, begun = host.webui.process, host.webui.start
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    stage.stop()
    return stage.at(begun)


def over(host: Host, name: str) -> dict[str, Any]:
    """The job when the run has come to its end."""
    found = dict(until(lambda: one if (one := job(host, name))["state"] in ("done", "stopped", "failed") else {}))
    assert found["state"] == "done" and found["result"]["steps"] == STEPS, (found["error"], found["result"])
    return found


def last(stage: Stage, name: str) -> State:
    found = Store(folder_of(stage, name) / "checkpoints").load()
    assert found is not None
    return found


def test_killed_and_gone_on_with(trainer: Host, stage: Stage) -> None:
    host = trainer
    host.load(usual(host))
    plain = picture(host)
    over(host, start(host, name="whole", **VALUES))
    one = start(host, name="killed", **VALUES)
    for step in KILLS:
        at_step(host, one, step)
        host = kill(host, stage)
        host.loaded = ""
        host.load(usual(host))
        assert job(host, one)["state"] in ("failed", "stopped"), "the list of jobs is true after a crash"
        assert apart(picture(host), plain) == 0
        one = str(host.client.call("POST", f"{V1}/training/killed/resume", {})["id"])
        assert last(stage, "killed").step >= step - 1
    over(host, one)
    assert apart(picture(host), plain) == 0
    whole, killed = last(stage, "whole"), last(stage, "killed")
    assert whole.step == killed.step == STEPS and whole.values == killed.values
    for part, held in whole.tensors.items():
        unlike = [name for name, tensor in held.items() if not torch.equal(tensor, killed.tensors[part][name])]
        assert unlike == [], part
    places = [folder_of(stage, name) for name in ("whole", "killed")]
    for path in [*places[0].glob("history.*"), *(places[0] / "snapshots").iterdir()]:
        other = places[1] / path.relative_to(places[0]).with_name(path.name.replace("whole", "killed"))
        assert other.is_file(), other.name
        if path.suffix != ".safetensors":  # its header has the run's name
            assert path.read_bytes() == other.read_bytes(), path.name
