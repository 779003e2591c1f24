"""A training in the real server: pictures meanwhile, the process killed in mid-step, gone on with by one request."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import training
from tests.commands.test_cli import start
from tests.commands.training import until

DRAW = {"a": "base", "prompt": "red seven", "steps": 4, "seed": 5, "ratio": 0.5}


class Server:
    """``python -m lib_astolfo serve`` and its address."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        for line in process.stderr:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                self.address = found.group() + "/astolfo/v1"
                return
        raise AssertionError("the server did not start")

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = json.dumps(body or {}).encode() if method != "GET" else None
        request = urllib.request.Request(self.address + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=training.PATIENCE) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def job(self, job: str, *states: str) -> dict[str, Any]:
        """As soon as it is in one of these states."""

        def found() -> dict[str, Any]:
            job_now = self.ask("GET", f"/jobs/{job}")
            return job_now if job_now["state"] in states else {}

        return dict(until(found))

    def step(self, job: str, step: int) -> None:
        def there() -> bool:
            now = self.ask("GET", f"/jobs/{job}")
            assert now["state"] in ("queued", "running"), now["error"]
            return now["progress"]["text"].startswith("step") and now["progress"]["done"] >= step

        until(there)


@contextmanager
def serving(models: Path, outputs: Path) -> Iterator[Server]:
    process = start("serve", "--models", str(models), "--outputs", str(outputs), "--port", "0", "tab=false")
    try:
        yield Server(process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=training.PATIENCE)


@pytest.fixture
def place(models: Path, tmp_path: Path) -> tuple[Path, Path]:
    training.write(tmp_path / "datasets" / "red")
    return models, tmp_path / "outputs"


def test_killed_in_mid_step_it_goes_on_with_one_request(place: tuple[Path, Path]) -> None:
    body = training.body(name="mine", save={"steps": 1}, snapshots={"epochs": 0, "steps": 0}, plan={"epochs": 1000})
    with serving(*place) as server:
        job = server.ask("POST", "/train", body)["id"]
        server.step(job, 2)
        drawn = server.ask("POST", "/draw", DRAW)
        assert all(base64.b64decode(drawn[name]["png"]) for name in ("base", "merge", "trained"))
        server.process.kill()
        server.process.wait()
    with serving(*place) as server:
        dead = server.ask("GET", f"/jobs/{job}")
        assert (dead["state"], dead["training"]["resumable"]) == ("failed", True)
        step = dead["training"]["step"]
        assert step >= 1
        again = server.ask("POST", f"/training/{job}/resume", {"plan": {"steps": step + 2}})["id"]
        done = server.job(again, "done", "failed", "stopped")
        assert (done["state"], done["result"]["steps"]) == ("done", step + 2), done["error"]
        history = (place[1] / "training" / "mine" / "history.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in history if "step" in json.loads(line)]
        assert sorted(set(steps)) == steps  # nothing twice


def test_at_the_servers_end_a_checkpoint_is_written(place: tuple[Path, Path]) -> None:
    with serving(*place) as server:
        job = server.ask("POST", "/train", training.body(name="mine"))["id"]
        server.step(job, 2)
        before = time.monotonic()
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.wait(timeout=training.PATIENCE)
        assert time.monotonic() - before < training.PATIENCE
    report = json.loads((place[1] / "training" / "mine" / "report.json").read_text())
    assert report["ended"] == "shutdown"
    assert (place[1] / "training" / "mine" / "checkpoints" / "latest").is_file()
    assert not list((place[1] / "training" / "mine" / "snapshots").glob("*"))
    with serving(*place) as server:
        found = server.ask("GET", "/training")["runs"][0]
        assert (found["name"], found["ended"], found["resumable"]) == ("mine", "shutdown", True)
