"""GET, PUT and DELETE /memory."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from lib_astolfo.api.app import create_app
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.hosts.standalone import StandaloneHost

V1 = "/astolfo/v1"


def test_put_get_delete(client: TestClient, workspace: Workspace) -> None:
    assert client.get(f"{V1}/memory").json() == []
    put = client.put(f"{V1}/memory", json={"model": "base", "sampling": "v ztsnr", "uncond": {"mode": None}})
    assert put.status_code == 200, put.text
    entry = put.json()
    assert (entry["sampling"]["prediction"], entry["uncond"]["mode"]) == ("v", "null")
    assert client.get(f"{V1}/memory").json() == [entry]
    workspace.load("base")
    sampling, uncond = client.get(f"{V1}/sampling").json(), client.get(f"{V1}/uncond").json()
    assert (sampling["source"], sampling["sampling"]["zero_terminal_snr"]) == ("memory", True)
    assert (uncond["source"], uncond["uncond"]["mode"]) == ("memory", "null")
    assert client.put(f"{V1}/sampling", json={"prediction": "x0"}).json()["source"] == "set"
    assert client.put(f"{V1}/sampling", json={}).json()["source"] == "memory"
    listed = {one["name"]: one for one in client.get(f"{V1}/checkpoints").json()}
    assert listed["base.safetensors"]["remembered"]["uncond"]["mode"] == "null"
    assert client.delete(f"{V1}/memory/{entry['hash']}").json() == {"hash": entry["hash"], "forgotten": True}
    assert client.get(f"{V1}/sampling").json()["source"] == "checkpoint"


def test_bad_bodies_are_told_by_key(client: TestClient, workspace: Workspace) -> None:
    bodies: list[tuple[dict[str, Any], str]] = [
        ({"sampling": "v"}, "model"),
        ({"model": "../base", "sampling": "v"}, "checkpoint"),
        ({"model": "base", "sampling": "w"}, "sampling"),
        ({"model": "base", "what": 1}, "what"),
        ({"model": "base", "cfg_rescale": 7}, "cfg_rescale"),
    ]
    for body, where in bodies:
        answer = client.put(f"{V1}/memory", json=body)
        assert (answer.status_code, answer.json()["where"]) == (422, where), answer.text
    assert client.delete(f"{V1}/memory/nowhere").status_code == 422
    assert not workspace.memory.path.exists()


def test_credentials_and_docs(workspace: Workspace) -> None:
    host = StandaloneHost(workspace.host.folders.models, workspace.host.folders.outputs, device="cpu", auth="u:p")
    with TestClient(create_app(Workspace(host)), base_url="http://127.0.0.1:7865") as client:
        assert client.get(f"{V1}/memory").status_code == 401
        assert client.put(f"{V1}/memory", json={}).status_code == 401
        assert client.delete(f"{V1}/memory/0123456789").status_code == 401
        assert client.get(f"{V1}/memory", auth=("u", "p")).status_code == 200
        paths = client.get("/openapi.json", auth=("u", "p")).json()["paths"]
    body = paths[f"{V1}/memory"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert "rf shift 3" in body["properties"]["sampling"]["description"]
    assert set(paths[f"{V1}/memory/{{short_hash}}"]) == {"delete"}
