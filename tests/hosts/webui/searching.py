"""Grids and searches over REST in a real WebUI: asked for, waited for, their cells as pictures and texts."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.hosts.webui.baking import V1, picture, undo, usual
from tests.hosts.webui.calls import REQUEST, Client, Picture
from tests.hosts.webui.stage import Host
from tests.hosts.webui.training import digest

PATIENCE = 600.0
OVER = ("done", "failed", "stopped")
PROMPTS = ["a red cat on a hill", "a blue dog by the sea"]


@dataclass(frozen=True)
class Shown:
    """A cell of a job: its values, its one picture uint8 [height, width, 3] and what stands under that."""

    values: dict[str, Any]
    picture: Picture
    text: str


def study(host: Host, axes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The body of a grid of the usual model and its trained one; a picture a cell, with the suite's own settings."""
    family = usual(host)
    return {
        "models": {"a": f"{family}.safetensors", "b": f"{family}-b.safetensors"},
        "dtype": "keep",
        "axes": dict(axes),
        "prompts": [REQUEST["prompt"]],
        "pictures": 1,
        "seed": REQUEST["seed"],
        "steps": REQUEST["steps"],
        "cfg": REQUEST["cfg_scale"],
        "width": REQUEST["width"],
        "height": REQUEST["height"],
        "scores": ["brightness"],
        **more,
    }


def start(host: Host, kind: str, body: Mapping[str, Any]) -> str:
    """The id of the job."""
    return str(host.client.call("POST", f"{V1}/{kind}", body)["id"])


def job(host: Host, name: str) -> dict[str, Any]:
    return dict(host.client.get(f"{V1}/jobs/{name}"))


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def over(host: Host, name: str, state: str = "done") -> dict[str, Any]:
    """The job when it is over, in this state."""
    found = dict(until(lambda: one if (one := job(host, name))["state"] in OVER else {}))
    assert found["state"] == state, (found["state"], found["error"], events(host, name)[-3:])
    return found


def act(host: Host, name: str, what: str, *states: str) -> dict[str, Any]:
    """Pause, resume, stop or cancel, and wait for one of the states."""
    host.client.post(f"{V1}/jobs/{name}/{what}", {})
    return dict(until(lambda: found if (found := job(host, name))["state"] in states else {}))


def events(host: Host, name: str) -> list[dict[str, Any]]:
    return list(host.client.get(f"{V1}/jobs/{name}/events"))


def made(host: Host, name: str) -> int:
    """Cells that a job has finished so far."""
    return sum("picture" in one["data"] for one in events(host, name))


def after_cells(host: Host, name: str, count: int) -> None:
    """When a job that goes on has finished so many cells."""
    until(lambda: made(host, name) >= count or _ended(host, name))


def _ended(host: Host, name: str) -> bool:
    found = job(host, name)
    assert found["state"] not in OVER, (found["state"], found["error"])
    return False


def file(host: Host, name: str, path: str) -> bytes:
    """One of the job's files."""
    answer = httpx.get(f"{host.webui.url}{V1}/jobs/{name}/files/{path}", timeout=60)
    assert answer.status_code == 200, (path, answer.text)
    return answer.content


def cells(host: Host, found: Mapping[str, Any]) -> list[Shown]:
    """The cells of a job that is over, in the order of its grid."""
    return [cell(host, found["id"], one) for one in found["result"]["cells"]]


def cell(host: Host, name: str, one: Mapping[str, Any]) -> Shown:
    with Image.open(io.BytesIO(file(host, name, one["picture"]))) as image:
        return Shown(dict(one["values"]), np.asarray(image.convert("RGB")), str(image.info["parameters"]))


def grid(host: Host, axes: Mapping[str, Any], **more: Any) -> list[Shown]:
    """A grid from its request to its end."""
    return cells(host, over(host, start(host, "grid", study(host, axes, **more))))


def kill_and_start(host: Host) -> None:
    """The WebUI is killed with -9, and started again."""
    process = host.webui.process
    assert process is not None
    process.kill()
    process.wait()
    host.webui.stop()
    host.client.close()
    host.webui.launch()
    host.client, host.loaded = Client(host.webui.url), ""


@contextmanager
def untouched(host: Host) -> Iterator[Host]:
    """The usual model is bit for bit the same before and after, and no job is left."""
    undo(host)
    host.load(usual(host))
    picture(host)  # without a LoRA
    before = digest(host)
    yield host
    for one in host.client.get(f"{V1}/jobs"):
        if one["state"] not in OVER:
            act(host, one["id"], "cancel", *OVER)
    assert host.client.get(f"{V1}/live")["recipe"] is None
    undo(host)
    host.load(usual(host))
    picture(host)
    assert digest(host) == before
