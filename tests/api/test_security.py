"""Credentials, other sites' pages, other names of this machine, and bodies that nobody should send."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from lib_astolfo.api.app import create_app
from lib_astolfo.api.routes import router
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.hosts.standalone import StandaloneHost

V1 = "/astolfo/v1"
BASE = "http://127.0.0.1:7865"
ROUTES = [
    ("GET", "checkpoints"), ("GET", "jobs"), ("GET", "jobs/x/files/y"), ("POST", "merge"), ("POST", "bake"),
    ("POST", "grid"), ("POST", "demo"), ("POST", "jobs/x/stop"), ("PUT", "live"), ("DELETE", "live"),
    ("PUT", "sampling"), ("PUT", "uncond"), ("PUT", "sidecar"), ("POST", "draw"),
    ("GET", "studies"), ("GET", "studies/x/view"), ("GET", "studies/x/files/y.png"), ("GET", "studies/x/look"),
    ("GET", "look/look_main.js"), ("GET", "studies/x/ballot"), ("GET", "studies/x/votes"), ("POST", "studies/x/votes"),
    ("DELETE", "studies/x/votes"), ("POST", "studies/x/report"),
]  # fmt: skip


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "models").mkdir()
    made = Workspace(StandaloneHost([tmp_path / "models"], tmp_path / "outputs", device="cpu", auth="ann:pass wörd"))
    yield made
    made.shutdown()


def with_page(app: FastAPI, workspace: Workspace) -> FastAPI:
    """A page and a websocket, as gradio adds them."""

    @app.get("/")
    def page() -> str:
        return "page"

    @app.websocket("/queue")
    async def queue(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("joined")
        await socket.close()

    return app


@pytest.mark.parametrize("whole", [True, False])
def test_every_route_asks_for_credentials(guarded: Workspace, whole: bool) -> None:
    app = create_app(guarded) if whole else FastAPI()
    if not whole:  # as in a WebUI: the routes alone
        app.include_router(router(guarded))
    client = TestClient(app, base_url=BASE)
    for method, path in ROUTES:
        for auth in (None, ("ann", "wrong"), ("", ""), ("bob", "pass wörd")):
            answer = client.request(method, f"{V1}/{path}", auth=auth)
            assert answer.status_code == 401, (method, path, auth)
            assert answer.json()["where"] == "Authorization"
            assert "Basic" in answer.headers["www-authenticate"]
    for header in ("Basic", "Basic !!!", "Bearer x", "Basic " + "A" * 9999, "Basic 4pyT"):
        assert client.get(f"{V1}/jobs", headers={"Authorization": header}).status_code == 401
    assert client.get(f"{V1}/jobs", headers={"Authorization": basic("ann", "pass wörd")}).status_code == 200


def basic(user: str, password: str) -> str:
    import base64

    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_the_page_and_its_websocket_are_behind_the_same_wall(guarded: Workspace) -> None:
    client = TestClient(create_app(guarded, mount=with_page))
    assert client.get("/").status_code == 401
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/queue"):
        pass
    assert client.get("/", headers={"Authorization": basic("ann", "pass wörd")}).status_code == 200
    with client.websocket_connect("/queue") as socket:  # the cookie of the answer before
        assert socket.receive_text() == "joined"
    assert client.get(f"{V1}/jobs").status_code == 200
    client.cookies.clear()
    client.cookies.set("astolfo-session", "guess")
    assert client.get(f"{V1}/jobs").status_code == 401
    client.cookies.clear()
    assert client.get(f"{V1}/jobs", headers={"Cookie": b"astolfo-session=\xe9"}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": BASE}, True),
        ({"Origin": BASE, "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://proxied.example", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://127.0.0.1:8000"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({"Origin": BASE, "Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
    ],
)
def test_pages_of_other_sites_change_nothing(client: TestClient, headers: dict[str, str], allowed: bool) -> None:
    answer = client.put(f"{V1}/uncond", content=b'{"mode": "zero"}', headers={"Content-Type": "text/plain", **headers})
    assert answer.status_code == (200 if allowed else 403)
    assert client.get(f"{V1}/uncond").json()["uncond"]["mode"] == ("zero" if allowed else "host")


def test_the_router_alone_refuses_other_sites_too(workspace: Workspace) -> None:
    app = FastAPI()
    app.include_router(router(workspace))
    client = TestClient(app, base_url=BASE)
    refused = client.delete(f"{V1}/live", headers={"Origin": "https://evil.example"})
    assert (refused.status_code, refused.json()["where"]) == (403, "Origin")
    assert client.delete(f"{V1}/live").status_code == 200


def test_websockets_of_other_sites_are_refused(workspace: Workspace) -> None:
    client = TestClient(create_app(workspace, mount=with_page), base_url=BASE)
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/queue", headers={"Origin": "https://evil.example"}),
    ):
        pass
    with client.websocket_connect("/queue", headers={"Origin": "http://testserver"}) as socket:
        assert socket.receive_text() == "joined"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7865", 200),
        ("localhost", 200),
        ("[::1]:1", 200),
        ("evil.example:7865", 403),
        ("evil.example", 403),
        ("", 403),
    ],
)
def test_a_local_server_has_local_names(client: TestClient, host: str, status: int) -> None:
    assert client.get(f"{V1}/jobs", headers={"Host": host}).status_code == status


ODD: list[Any] = [
    None, True, -1, 10**30, 1e308, "", "x" * 5000, "../../etc/passwd", "${oc.env:HOME}", "\ud7ff\u202e\0", [], [[]], {},
    {"a": {"a": {}}}, {"method": 1}, [None], "NaN",
]  # fmt: skip
KEYS = [
    "method", "models", "ratio", "blocks", "options", "dtype", "output", "threads", "recipe", "job", "sampling",
    "uncond", "axes", "prompts", "pictures", "steps", "seed", "scores", "model", "a", "b", "prompt", "cfg", "sampler",
    "width", "prediction", "mode", "weight", "folder", "show", "hashes", "unknown",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_no_body_breaks_a_route(client: TestClient, workspace: Workspace, seed: int) -> None:
    chance = random.Random(seed)
    workspace.jobs.runners.update({kind: lambda values, task: {} for kind in workspace.jobs.runners})  # type: ignore[attr-defined]
    good: dict[str, Any] = {"a": "base", "b": "trained", "steps": 1, "models": {"a": "base", "b": "trained"}}
    for method, path in ROUTES:
        if method == "GET" or "jobs" in path or "studies" in path or path == "demo":
            continue
        for _ in range(12):
            body = {**(good if chance.random() < 0.5 else {})}
            body.update({chance.choice(KEYS): chance.choice(ODD) for _ in range(chance.randint(0, 3))})
            body.pop("pictures", None)
            answer = client.request(method, f"{V1}/{path}", json=body)
            assert answer.status_code in (200, 202, 422), (path, body, answer.text)
            if answer.status_code == 422:
                assert set(answer.json()) == {"where", "found", "expected"}


@pytest.mark.parametrize(
    "text",
    [b"{", b"[1]", b'"x"', b"\xff\xfe", b'{"ratio": NaN}', b'{"ratio": 1e999}', b"[" * 100_000, b'{"a":' * 100_000,
     b'{"cfg": -Infinity}', b'{"x": "' + b"y" * 5_000_000 + b'"}'],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_broken_bodies(client: TestClient, text: bytes) -> None:
    for method, path in (("POST", "merge"), ("PUT", "live"), ("POST", "draw"), ("PUT", "sampling")):
        answer = client.request(method, f"{V1}/{path}", content=text)
        assert answer.status_code == 422, (path, answer.text[:200])
        assert answer.json()["where"]


def test_odd_queries_and_ids(client: TestClient) -> None:
    for query in ("limit=x", "limit=1e9", "after=NaN", "limit=" + "9" * 30):
        assert client.get(f"{V1}/jobs/x/events?{query}").status_code in (404, 422)
    assert client.get(f"{V1}/jobs?limit=-5").json() == []
    assert client.get(f"{V1}/jobs?limit={10**18}").json() == []
    for name in ("..", "%00", "a" * 3000, "'; DROP TABLE jobs; --", "💥"):
        assert client.get(f"{V1}/jobs/{name}").status_code in (404, 200, 307), name
        assert client.post(f"{V1}/jobs/{name}/cancel").status_code in (404, 405)
