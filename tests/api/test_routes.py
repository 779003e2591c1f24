"""Every route, on the real queue and the real host."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from lib_astolfo.commands.live import RECIPE_KEYS
from lib_astolfo.commands.workspace import Workspace
from tests.commands import pair

V1 = "/astolfo/v1"
RECIPE: dict[str, Any] = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.75}
Over = Callable[[Any], dict[str, Any]]


def held(workspace: Workspace) -> threading.Event:
    """A job that runs until the event is set, or until it is asked to end."""
    go = threading.Event()

    def run(values: dict[str, Any], task: Any) -> dict[str, Any]:
        (task.folder / "seven 七.png").write_bytes(b"\x89PNG")
        (task.folder / "report.html").write_text("<script>1</script>")
        (task.folder / "table.csv").write_text("a,b")
        while not go.wait(0.01):
            task.progress(1, 2, "half")
        return {"made": 3}

    workspace.jobs.runners["held"] = run  # type: ignore[index]
    return go


def test_tables(client: TestClient) -> None:
    checkpoints = {entry["name"]: entry for entry in client.get(f"{V1}/checkpoints").json()}
    assert checkpoints["trained.safetensors"]["sampling"]["prediction"] == "v"
    assert checkpoints["base.safetensors"]["family"] == "sdxl"
    methods = {entry["name"]: entry for entry in client.get(f"{V1}/methods").json()}
    assert methods["add_difference"]["slots"] == ["a", "b", "c"]
    assert methods["weighted_sum"]["ratio"] is True
    scores = {entry["name"]: entry for entry in client.get(f"{V1}/scores").json()}
    assert scores["accuracy"]["limit"] == 1.0
    assert scores["near"]["better"] == "lower"


def test_merge_and_bake_are_jobs(client: TestClient, over: Over, workspace: Workspace) -> None:
    merged = over(client.post(f"{V1}/merge", json={**RECIPE, "output": "merged"}))
    assert (merged["state"], merged["result"]["name"]) == ("done", "merged.safetensors")
    assert merged["progress"]["done"] == merged["progress"]["total"] > 0
    baked = over(client.post(f"{V1}/bake", json={"recipe": RECIPE, "output": "baked", "uncond": "null"}))
    assert baked["state"] == "done", baked
    names = [entry["name"] for entry in client.get(f"{V1}/checkpoints").json()]
    assert {"merged.safetensors", "baked.safetensors"} <= set(names)
    jobs = client.get(f"{V1}/jobs").json()
    assert [job["id"] for job in jobs] == [baked["id"], merged["id"]]
    assert len(client.get(f"{V1}/jobs", params={"limit": 1}).json()) == 1
    events = client.get(f"{V1}/jobs/{merged['id']}/events").json()
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert client.get(f"{V1}/jobs/{merged['id']}/events", params={"after": len(events) - 1}).json() == events[-1:]


def test_steering_and_files(client: TestClient, workspace: Workspace) -> None:
    go = held(workspace)
    job = workspace.jobs.submit("held", {}).id

    def until(state: str, text: str = "half") -> dict[str, Any]:
        for _ in range(2000):
            shown = client.get(f"{V1}/jobs/{job}").json()
            if (shown["state"], shown["progress"]["text"]) == (state, text):
                return shown
            threading.Event().wait(0.005)
        raise AssertionError(shown)

    def state_after(ask: str, state: str) -> dict[str, Any]:
        assert client.post(f"{V1}/jobs/{job}/{ask}").status_code == 200
        return until(state)

    until("running")
    assert state_after("pause", "paused")["progress"]["text"] == "half"
    assert "seven 七.png" in state_after("resume", "running")["files"]
    picture = client.get(f"{V1}/jobs/{job}/files/seven 七.png")
    assert (picture.content, picture.headers["content-type"]) == (b"\x89PNG", "image/png")
    report = client.get(f"{V1}/jobs/{job}/files/report.html")
    assert report.headers["content-security-policy"] == "sandbox"
    assert "attachment" in client.get(f"{V1}/jobs/{job}/files/table.csv").headers["content-disposition"]
    for name in ("../jobs.sqlite", "%2e%2e/jobs.sqlite", "..%2fqueue.lock", "nothing.png", "/etc/passwd"):
        assert client.get(f"{V1}/jobs/{job}/files/{name}").status_code == 404, name
    assert state_after("stop", "stopped")["files"] == ["report.html", "seven 七.png", "table.csv"]
    again = client.post(f"{V1}/jobs/{job}/resume")
    assert (again.status_code, again.json()["found"]) == (409, "it is stopped already")
    assert client.get(f"{V1}/jobs/{job}/events?after={10**30}").json() == []
    assert len(client.get(f"{V1}/jobs/{job}/events?after={-(10**30)}").json()) > 3
    assert client.get(f"{V1}/jobs/nothing").status_code == 404
    assert client.post(f"{V1}/jobs/nothing/stop").json()["where"] == "job"
    go.set()


def test_live(client: TestClient, workspace: Workspace) -> None:
    assert client.get(f"{V1}/live").json()["model"] is None
    put = client.put(f"{V1}/live", json=RECIPE)
    assert put.status_code == 200, put.text
    assert client.get(f"{V1}/live").json()["recipe"]["ratio"] == 0.75
    wrong = client.put(f"{V1}/live", json={**RECIPE, "models": {"a": "base", "b": "traind"}})
    assert (wrong.status_code, "trained.safetensors" in wrong.json()["expected"]) == (422, True)
    assert client.get(f"{V1}/live").json()["recipe"]["ratio"] == 0.75
    unknown = client.put(f"{V1}/live", json={**RECIPE, "threads": 2})
    assert (unknown.status_code, unknown.json()["where"]) == (422, "threads")
    assert client.delete(f"{V1}/live").json()["recipe"] is None


def test_sampling_uncond_and_pictures(client: TestClient) -> None:
    assert client.put(f"{V1}/sampling", json={"prediction": "v"}).json()["source"] == "set"
    assert client.put(f"{V1}/uncond", json={"mode": "zero"}).json()["uncond"]["mode"] == "zero"
    drawn = client.post(f"{V1}/draw", json={"a": "base", "b": "trained", "steps": 2, "show": ["merge"]})
    assert drawn.status_code == 200, drawn.text
    shown = drawn.json()["merge"]
    assert "Astolfo uncond: zero" in shown["infotext"]
    picture = Image.open(BytesIO(base64.b64decode(shown["png"])))
    assert (picture.size, picture.info["parameters"]) == ((64, 64), shown["infotext"])
    assert client.put(f"{V1}/sampling", json={}).json()["source"] == "checkpoint"
    for path, body, where in (
        ("sampling", {"prediction": "eps", "zero_terminal_snr": True}, "zero_terminal_snr"),
        ("sampling", {"predictio": "v"}, "sampling.prediction"),
        ("uncond", {"mode": "text"}, "uncond text"),
        ("uncond", {"mode": "zero", "start": "x"}, "uncond start"),
        ("draw", {"a": "base", "b": "trained", "steps": "many"}, "steps"),
    ):
        method = client.post if path == "draw" else client.put
        answer = method(f"{V1}/{path}", json=body)
        assert (answer.status_code, answer.json().get("where")) == (422, where)


def test_sidecar(client: TestClient, workspace: Workspace, tmp_path: Path) -> None:
    made = client.put(f"{V1}/sidecar", json={"model": "base", "sampling": {"prediction": "rf", "shift": 3}})
    assert made.status_code == 200, made.text
    assert "shift: 3.0" in (tmp_path / "models" / "base.yaml").read_text()
    again = client.put(f"{V1}/sidecar", json={"model": "base", "sampling": "v"})
    assert again.status_code == 422
    assert "overwrite" in again.json()["expected"]


def test_docs_describe_every_route(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    expected = {
        "/checkpoints": "get", "/methods": "get", "/scores": "get", "/jobs": "get", "/jobs/{job_id}": "get",
        "/jobs/{job_id}/events": "get", "/jobs/{job_id}/files/{name}": "get", "/sampling": "get put",
        "/uncond": "get put", "/merge": "post", "/bake": "post", "/grid": "post", "/demo": "post",
        "/jobs/{job_id}/pause": "post", "/jobs/{job_id}/resume": "post", "/jobs/{job_id}/stop": "post",
        "/jobs/{job_id}/cancel": "post", "/live": "get put delete", "/sidecar": "put", "/draw": "post",
    }  # fmt: skip
    for path, methods in expected.items():
        described = paths[V1 + path]
        assert set(described) == set(methods.split())
        for method, route in described.items():
            assert route["summary"]
            assert route["security"] == [{"HTTPBasic": []}]
            if method in ("put", "post") and "job_id" not in path:
                assert route["requestBody"]["content"]["application/json"]["schema"]["properties"] or path == "/demo"
    keys = paths[f"{V1}/merge"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert keys["dtype"] == {"type": "string", "default": "fp16", "description": "fp16 bf16 fp32 keep"}
    live = paths[f"{V1}/live"]["put"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(live) == {*RECIPE_KEYS, "model"}
    assert {"202", "401", "403", "422"} <= set(paths[f"{V1}/merge"]["post"]["responses"])
    assert {"200", "404", "409"} <= set(paths[f"{V1}/jobs/{{job_id}}/pause"]["post"]["responses"])
    assert client.get("/docs").status_code == 200


def test_a_model_in_use_is_said(client: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = workspace.locked
    monkeypatch.setattr(workspace, "locked", lambda patience=0.05: locked(0.05))
    with pair.in_use(workspace):
        answer = client.put(f"{V1}/live", json=RECIPE)
    assert (answer.status_code, "in use" in answer.json()["error"]) == (503, True)
