"""Users, cookies and the page's key, without a WebUI; the routes' guard on top of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib_astolfo.api.routes import router
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.webui.login import PAGE_COOKIE, Login, api_users, cookies_of, gradio_users

JOBS = "/astolfo/v1/jobs"
APP = SimpleNamespace(auth={"bob": "pw"}, tokens={"tok-en": "bob"})


def test_users_are_split_as_the_host_splits_them() -> None:
    assert api_users("alice:secret,carl:a b") == [("alice", "secret"), ("carl", "a b")]
    assert api_users("nobody") == api_users(None) == api_users("") == api_users(":x") == []
    assert gradio_users([("bob", "p:w"), ("alone",), ("", "x")]) == [("bob", "p:w")]


@pytest.mark.parametrize(
    ("api", "gradio", "good"),
    [
        (None, None, None),
        ("alice:secret", None, {("alice", "secret")}),
        (None, [("bob", "p:w")], {("bob", "p:w")}),
        ("alice:secret,a:b", [("bob", "pw")], {("alice", "secret"), ("a", "b"), ("bob", "pw")}),
        ("nobody", None, set()),
        (None, [], set()),
    ],
)
def test_credentials(api: str | None, gradio: Any, good: set[tuple[str, str]] | None) -> None:
    check = Login.of(api, gradio).credentials()
    assert (check is None) == (good is None)
    if check is None or good is None:
        return
    names, words = ["alice", "a", "bob", "", "nobody", "ü"], ["secret", "b", "p:w", "pw", "", "ü\ud800"]
    assert {(name, word) for name in names for word in words if check(name, word)} == good


def test_cookies() -> None:
    assert cookies_of({"cookie": 'a=1; access-token="x=="; b'}) == {"a": "1", "access-token": "x=="}
    assert cookies_of({}) == {}


@pytest.mark.parametrize("name", ["access-token", "access-token-unsecure"])
def test_gradio_sessions(name: str) -> None:
    login = Login.of(None, [("bob", "pw")])
    right = {"cookie": f"x=y; {name}=tok-en"}
    assert login.session(right, APP)
    assert not login.session({"cookie": f"{name}=other"}, APP)
    assert not login.session({"cookie": f"{name}="}, APP)
    assert not login.session({"cookie": "other=tok-en"}, APP)
    assert not login.session(right, None)
    assert not login.session(right, SimpleNamespace(auth=None, tokens={"tok-en": "x"})), "a page without a login"
    assert not Login.of("alice:secret", None).session(right, APP), "the page's users are not the API's"


def test_the_open_page_has_a_key_where_the_api_is_closed() -> None:
    login = Login.of("alice:secret", None)
    assert login.session({"cookie": f"{PAGE_COOKIE}={login.key}"}, None)
    assert login.session({"cookie": f"{PAGE_COOKIE}-7861=other; {PAGE_COOKIE}-7860={login.key}"}, None)
    assert not login.session({"cookie": f"other={login.key}"}, None)
    assert not login.session({"cookie": f"{PAGE_COOKIE}={login.key[:-1]}"}, None)
    assert login.key != Login.of("alice:secret", None).key
    assert login.key not in repr(login)
    both = Login.of("alice:secret", [("bob", "pw")])
    assert not both.session({"cookie": f"{PAGE_COOKIE}={both.key}"}, APP), "the page asks for a login here"


class Host(StandaloneHost):
    """The real host, with a WebUI's login."""

    login = Login.of("alice:secret", [("bob", "pw")])

    def credentials(self) -> Any:
        return self.login.credentials()

    def session(self, headers: Any) -> bool:
        return self.login.session(headers, APP)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "models").mkdir()
    workspace = Workspace(Host([tmp_path / "models"], tmp_path / "outputs", device="cpu", auth=""))
    app = FastAPI()
    app.include_router(router(workspace))
    yield TestClient(app)
    workspace.shutdown()


def basic(pair: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def test_routes_take_either(client: TestClient) -> None:
    cookie = {"Cookie": "access-token=tok-en"}
    assert client.get(JOBS).status_code == 401
    assert client.get(JOBS, headers=basic("alice:pw")).status_code == 401
    for headers in (basic("alice:secret"), basic("bob:pw"), cookie):
        assert client.get(JOBS, headers=headers).status_code == 200
    assert client.get(JOBS, headers={"Cookie": "access-token=guess"}).status_code == 401
    assert client.get(JOBS, headers={**basic("x:y"), **cookie}).status_code == 200
    put = client.put("/astolfo/v1/uncond", json={"mode": "zero"}, headers={**cookie, "Sec-Fetch-Site": "cross-site"})
    assert put.status_code == 403
    put = client.put("/astolfo/v1/uncond", json={"mode": "zero"}, headers={**cookie, "Sec-Fetch-Site": "same-origin"})
    assert put.status_code == 200, put.text
