"""Trainings over REST in a real WebUI: begun, waited for, paused, ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.hosts.webui.baking import V1, usual
from tests.hosts.webui.stage import Host, Stage

PATIENCE = 300.0
DATA = "suite"
LINE = "Astolfo merge"
#: Learning rates by which a few steps are seen; others have 1e-3.
RATES = {"lora": 5e-2, "lokr": 5e-2}


def make_data(stage: Stage) -> None:
    """Four pictures with captions, where a WebUI looks for data sets."""
    folder = stage.data / "outputs" / "datasets" / DATA
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a red cat, number {number}", "utf-8")


def folder_of(stage: Stage, name: str) -> Path:
    """The folder of a run."""
    return stage.data / "outputs" / "astolfo" / "training" / name


def body(host: Host, **more: Any) -> dict[str, Any]:
    """What POST /train takes; it ends when it is stopped."""
    kind = more.get("form", {}).get("kind", "delta")
    return {
        "model": f"{host.loaded or usual(host)}.safetensors",
        "data": {
            "sources": [{"path": DATA}],
            "buckets": {"width": 64, "height": 64, "smallest": 64, "longest": 64, "steps": 64},
        },
        "plan": {"epochs": 10000, "rate": RATES.get(kind, 1e-3)},
        "batch": 1,
        "accumulate": 1,
        "watch": {"validation": {"every": 0}, "tensorboard": False},
        "snapshots": {"epochs": 0, "dtype": "fp32"},
        **more,
    }


def start(host: Host, **more: Any) -> str:
    return str(host.client.call("POST", f"{V1}/train", body(host, **more))["id"])


def job(host: Host, name: str) -> dict[str, Any]:
    return dict(host.client.get(f"{V1}/jobs/{name}"))


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def at_step(host: Host, name: str, step: int) -> dict[str, Any]:
    """The job when it has made so many steps."""

    def there() -> dict[str, Any]:
        found = job(host, name)
        assert found["state"] in ("queued", "running"), (found["state"], found["error"], found["result"])
        at = found["progress"]
        return found if at["text"].startswith("step") and at["done"] >= step else {}

    return dict(until(there))


def act(host: Host, name: str, what: str, *states: str) -> dict[str, Any]:
    """Pause, resume, stop or cancel, and wait for one of the states."""
    host.client.post(f"{V1}/jobs/{name}/{what}", {})
    return dict(until(lambda: found if (found := job(host, name))["state"] in states else {}))


def end_all(host: Host) -> None:
    for one in host.client.get(f"{V1}/jobs"):
        if one["state"] in ("queued", "running", "paused", "stopping"):
            act(host, one["id"], "cancel", "done", "stopped", "failed")


def ratio(host: Host, value: float) -> None:
    host.client.call("PUT", f"{V1}/live", {"training": {"ratio": value}})
