"""POST /doctor is a job like the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from lib_astolfo.commands.workspace import Workspace

V1 = "/astolfo/v1"


def test_a_report_and_a_marked_file(client: TestClient, over: Callable[[Any], dict[str, Any]]) -> None:
    job = over(client.post(f"{V1}/doctor", json={"models": ["base", "trained"]}))
    assert job["state"] == "done", job
    assert [one["prediction"]["words"] for one in job["result"]["reports"]] == ["eps", "v ZTSNR"]
    job = over(client.post(f"{V1}/doctor", json={"model": "trained", "markers": "auto", "output": "marked"}))
    assert job["result"]["written"]["name"] == "marked.safetensors"
    assert "marked.safetensors" in [one["name"] for one in client.get(f"{V1}/checkpoints").json()]


def test_bad_settings_are_refused_before_a_job_is_queued(client: TestClient, workspace: Workspace) -> None:
    for body, where in (
        ({"model": "../base"}, "models"),
        ({"model": "base", "markers": ["x"], "output": "y"}, "markers"),
        ({"model": "base", "markers": "none"}, "output"),
        ({"model": "base", "markers": "ztsnr", "output": "y"}, "markers"),
    ):
        answer = client.post(f"{V1}/doctor", json=body)
        assert (answer.status_code, answer.json()["where"]) == (422, where), answer.text
    assert workspace.jobs.list(10) == []


def test_docs_show_it(client: TestClient) -> None:
    path = client.get("/openapi.json").json()["paths"][f"{V1}/doctor"]["post"]
    body = path["requestBody"]["content"]["application/json"]
    assert body["example"]["markers"] == ["v_pred", "ztsnr"]
    assert "auto" in body["schema"]["properties"]["markers"]["description"]
