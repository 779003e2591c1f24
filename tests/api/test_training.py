"""A training over REST on the real queue and the real host: drawn from meanwhile, paused, kept, discarded, resumed."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from lib_astolfo.commands.workspace import Workspace
from tests.commands import training
from tests.commands.training import until

from .conftest import V1

DRAW = {"a": "base", "prompt": "red seven", "steps": 6, "seed": 5}
RECIPE: dict[str, Any] = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.75}


class Rest:
    """The app, and the words of a training."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def start(self, **more: Any) -> str:
        answer = self.client.post(f"{V1}/train", json=training.body(**more))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        return dict(self.client.get(f"{V1}/jobs/{job}").json())

    def ask(self, job: str, what: str) -> None:
        assert self.client.post(f"{V1}/jobs/{job}/{what}").status_code == 200

    def at_step(self, job: str, step: int) -> dict[str, Any]:
        def there() -> dict[str, Any]:
            found = self.job(job)
            assert found["state"] in ("queued", "running"), found["error"]
            at = found["progress"]
            return found if at["text"].startswith("step") and at["done"] >= step else {}

        return dict(until(there))

    def over(self, job: str) -> dict[str, Any]:
        def ended() -> dict[str, Any]:
            found = self.job(job)
            return found if found["state"] in ("done", "stopped", "failed") else {}

        return dict(until(ended))

    def show(self, **what: Any) -> dict[str, Any]:
        answer = self.client.put(f"{V1}/live", json={"training": what})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def draw(self, **more: Any) -> dict[str, tuple[np.ndarray, str]]:
        """Name to pixels and infotext."""
        answer = self.client.post(f"{V1}/draw", json={**DRAW, **more})
        assert answer.status_code == 200, answer.text
        return {name: (_pixels(one["png"]), one["infotext"]) for name, one in answer.json().items()}


def _pixels(png: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(png))).convert("RGB")).astype(np.int64)


@pytest.fixture
def rest(client: TestClient, workspace: Workspace, tmp_path: Path) -> Rest:
    training.write(tmp_path / "datasets" / "red")
    return Rest(client)


def test_trained_in_turns_with_pictures_kept_then_discarded(rest: Rest, workspace: Workspace) -> None:
    workspace.load("base")
    before, plain = training.digest(workspace), rest.draw(b="trained", show=["base"])["base"][0]
    job = rest.start(name="mine", form={"kind": "delta"})
    rest.at_step(job, 3)
    shown = rest.draw(ratio=0.5)  # base, merge and trained while it runs
    assert np.array_equal(shown["base"][0], plain)
    assert not np.array_equal(shown["merge"][0], plain)
    assert not np.array_equal(shown["merge"][0], shown["trained"][0])
    assert "ratio 0.5" in shown["merge"][1] and "mine step" in shown["merge"][1]
    rest.ask(job, "pause")
    until(lambda: rest.job(job)["state"] == "paused")
    assert (workspace.trainings / "mine" / "checkpoints" / "latest").is_file()
    once, again = (rest.draw(ratio=0.5)["trained"][0] for _ in range(2))
    assert np.array_equal(once, again)
    rest.ask(job, "resume")
    done = rest.job(job)["progress"]["done"]
    rest.at_step(job, done + 1)
    rest.ask(job, "stop")
    kept = rest.over(job)
    assert (kept["state"], kept["result"]["ended"]) == ("stopped", "stopped"), kept["error"]
    assert kept["result"]["last"].startswith("mine/snapshots/")
    assert training.digest(workspace) == before
    second = rest.start(name="other", form={"kind": "full"})
    rest.at_step(second, 2)
    rest.ask(second, "cancel")
    assert rest.over(second)["state"] == "stopped"
    assert training.digest(workspace) == before
    assert not list((workspace.trainings / "other" / "snapshots").glob("*"))
    assert np.array_equal(rest.draw(b="trained", show=["base"])["base"][0], plain)


@pytest.mark.parametrize("kind", ["in_place", "lora", "lokr"])
def test_discarded_or_kept_the_model_is_what_it_was(rest: Rest, workspace: Workspace, kind: str) -> None:
    workspace.load("base")
    before = training.digest(workspace)
    for ask in ("cancel", "stop"):
        job = rest.start(name=ask, form={"kind": kind, "rank": 4})
        rest.at_step(job, 2)
        rest.draw(ratio=0.5)
        rest.ask(job, ask)
        over = rest.over(job)
        assert (over["state"], workspace.host.model.showing) == ("stopped", None), over["error"]
        assert training.digest(workspace) == before
        assert len(list((workspace.trainings / ask / "snapshots").glob("*"))) == (ask == "stop")


def test_the_ratio_is_a_slider_and_merges_wait(rest: Rest, workspace: Workspace) -> None:
    job = rest.start(name="mine", show={"ratio": 0.25})
    rest.at_step(job, 1)
    state = rest.client.get(f"{V1}/live").json()["training"]
    assert (state["job"], state["name"], state["ratio"], state["weights"]) == (job, "mine", 0.25, "trained")
    assert rest.show(ratio=0.8)["training"]["ratio"] == 0.8
    assert rest.show(job=job, ratio=0)["training"]["ratio"] == 0.0
    assert workspace.host.model.showing.ratio == 0.0
    for wrong, where in (
        ({"ratio": "much"}, "training.ratio"),
        ({"ratio": True}, "training.ratio"),
        ({"weights": "ema"}, "training.weights"),
        ({"rato": 1}, "training.rato"),
        ({"job": "nobody", "ratio": 1}, "training"),
    ):
        answer = rest.client.put(f"{V1}/live", json={"training": wrong})
        assert answer.status_code in (404, 422), answer.text
        assert answer.json()["where"] == where
    merge = rest.client.put(f"{V1}/live", json=RECIPE)
    assert merge.status_code == 503
    assert "PUT /live" in merge.json()["error"] and job in merge.json()["error"]
    grid = {"models": RECIPE["models"], "axes": {"ratio": [0, 1]}, "prompts": ["red one"], "pictures": 1, "steps": 2}
    assert rest.client.post(f"{V1}/grid", json=grid).status_code == 503
    assert rest.client.post(f"{V1}/draw", json={**DRAW, "a": "trained"}).status_code == 503
    second = rest.start(name="second")
    assert rest.job(second)["state"] == "queued"  # in the same lane
    for one in (second, job):
        rest.ask(one, "cancel")
        rest.over(one)
    assert rest.client.get(f"{V1}/live").json()["training"] is None
    assert rest.client.put(f"{V1}/live", json=RECIPE).status_code == 200


def test_a_live_merge_is_not_trained_on(rest: Rest, workspace: Workspace) -> None:
    assert rest.client.put(f"{V1}/live", json=RECIPE).status_code == 200
    over = rest.over(rest.start(name="mine"))
    assert (over["state"], "DELETE /live" in over["error"]) == ("failed", True)
    assert workspace.training is None
    assert rest.client.get(f"{V1}/live").json()["recipe"]["ratio"] == 0.75
    assert not (workspace.trainings / "mine").exists()


def test_a_training_waits_for_a_grid(rest: Rest) -> None:
    grid = {"models": RECIPE["models"], "axes": {"ratio": [0, 0.5, 1]}, "prompts": ["red one"], "pictures": 8}
    drawing = rest.client.post(f"{V1}/grid", json=grid).json()["id"]
    until(lambda: rest.job(drawing)["state"] == "running")
    job = rest.start(name="mine", plan={"steps": 1})
    assert rest.over(drawing)["state"] == "done"
    over = rest.over(job)
    assert over["state"] == "done", over["error"]
    assert over["ended"] > rest.job(drawing)["ended"]
    with_it = rest.client.post(f"{V1}/training/mine/grid", json={"pictures": 1, "steps": 2, "axes": {"ratio": [0, 1]}})
    assert with_it.status_code == 202, with_it.text
    found = rest.over(with_it.json()["id"])
    assert found["state"] == "done", found["error"]
    winner = found["result"]["winner"]["recipe"]
    assert winner["loras"][0]["file"] == over["result"]["last"]
    baked = rest.client.post(f"{V1}/bake", json={"job": found["id"], "output": "baked"}).json()["id"]
    assert rest.over(baked)["state"] == "done", rest.job(baked)["error"]
    other = rest.client.post(f"{V1}/training/mine/bake", json={"ratio": 0.5, "output": "half"}).json()["id"]
    assert rest.over(other)["result"]["recipe"]["loras"][0]["weight"] == 0.5


def test_merges_to_files_and_reports_go_on_beside_a_training(rest: Rest) -> None:
    job = rest.start(name="mine")
    rest.at_step(job, 1)
    told = rest.over(rest.start(name="next", report=True))
    assert (told["state"], told["result"]["steps"]) == ("done", 4000), told["error"]
    merged = rest.client.post(f"{V1}/merge", json={**RECIPE, "output": "merged"}).json()["id"]
    assert rest.over(merged)["state"] == "done"
    assert rest.job(job)["state"] == "running"
    rest.ask(job, "cancel")
    rest.over(job)


def test_a_run_is_resumed_and_its_snapshot_is_a_slider_afterwards(rest: Rest, workspace: Workspace) -> None:
    job = rest.start(name="mine", objective=training.SWAP)
    rest.at_step(job, 2)
    rest.ask(job, "stop")
    first = rest.over(job)["result"]
    shown = rest.job(job)["training"]
    assert (shown["name"], shown["step"], shown["resumable"]) == ("mine", first["steps"], True)
    assert rest.client.post(f"{V1}/train", json=training.body(name="mine")).json()["where"] == "name"
    ended = rest.client.post(f"{V1}/jobs/{job}/resume")
    assert (ended.status_code, "POST /training/mine/resume" in ended.json()["expected"]) == (409, True)
    answer = rest.client.post(f"{V1}/training/{job}/resume", json={"plan": {"steps": first["steps"] + 2}})
    assert answer.status_code == 202, answer.text
    over = rest.over(answer.json()["id"])
    assert (over["state"], over["result"]["steps"]) == ("done", first["steps"] + 2), over["error"]
    state = rest.show(job="mine", ratio=0.5)
    assert state["recipe"]["loras"] == [{"file": over["result"]["last"], "weight": 0.5}]
    assert state["model"] == "base.safetensors"
    assert rest.client.delete(f"{V1}/live").status_code == 200
    drawn = rest.draw(b=over["result"]["last"], ratio=0.5)
    assert not np.array_equal(drawn["base"][0], drawn["trained"][0])
    assert "Astolfo prediction: v" in drawn["trained"][1]
    listed = rest.client.get(f"{V1}/training").json()
    assert (listed["active"], [run["name"] for run in listed["runs"]]) == (None, ["mine"])
    one = rest.client.get(f"{V1}/training/mine").json()
    assert [each["step"] for each in one["snapshots"]] == [first["steps"], first["steps"] + 2]
    assert "history.jsonl" in one["files"]
    assert rest.client.get(f"{V1}/training/mine/files/history.jsonl").status_code == 200
    for name in ("checkpoints/latest", "../mine/settings.yaml", "%2e%2e/jobs/jobs.sqlite"):
        assert rest.client.get(f"{V1}/training/mine/files/{name}").status_code == 404, name
    assert rest.client.delete(f"{V1}/training/mine").json() == {"deleted": "mine"}
    assert rest.client.get(f"{V1}/training/mine").status_code == 404


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"model": "bas"}, "model"),
        ({"data": {"sources": []}}, "data.sources"),
        ({"data": {"sources": [{"path": "nowhere"}]}}, "data.sources[0].path"),
        ({"data": {"sources": [{"path": "/etc"}]}}, "data.sources[0].path"),
        ({"data": {"sources": [{"path": "../../etc"}]}}, "data.sources[0].path"),
        ({"name": "../mine"}, "name"),
        ({"cache": "/tmp/elsewhere"}, "cache"),
        ({"plan": {"epoch": 3}}, "plan.epoch"),
        ({"resume": "nothing"}, "resume"),
        ({"optimiser": {"precision": "plain"}}, "optimiser.precision"),
    ],
)
def test_bad_input_is_refused_before_it_is_queued(rest: Rest, change: dict[str, Any], where: str) -> None:
    answer = rest.client.post(f"{V1}/train", json={**training.body(), **change})
    assert answer.status_code in (404, 422), answer.text
    assert answer.json()["where"] == where
    assert rest.client.get(f"{V1}/jobs").json() == []
