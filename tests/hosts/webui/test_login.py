"""Our routes ask for the credentials that the WebUI was started with; pages of other sites change nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hosts.webui.stage import Stage
from tests.hosts.webui.webui import Start

JOBS, UNCOND = "/astolfo/v1/jobs", "/astolfo/v1/uncond"
ALICE, BOB, EVE = ("alice", "secret"), ("bob", "p:w"), ("eve", "secret")
API, PAGE = ("--api-auth", "alice:secret,carl:x"), ("--gradio-auth", "bob:p:w")
STARTS = {
    "none": Start(),
    "api": Start(flags=API, auth=ALICE),
    "page": Start(flags=PAGE),
    "both": Start(flags=(*API, *PAGE), auth=ALICE),
    "api, no page": Start(flags=(*API, "--nowebui"), auth=ALICE),
}
#: start -> status for nobody, a wrong password, a stranger, alice, bob, and bob's cookie of gradio's login
TABLE = {
    "none": (200, 200, 200, 200, 200, 200),
    "api": (401, 401, 401, 200, 401, 401),
    "page": (401, 401, 401, 401, 200, 200),
    "both": (401, 401, 401, 200, 200, 200),
    "api, no page": (401, 401, 401, 200, 401, 401),
}


@pytest.fixture(scope="module", params=list(STARTS))
def asked(request: pytest.FixtureRequest, stage: Stage) -> tuple[str, str]:
    """The name of a start, and the address of the WebUI."""
    return request.param, stage.at(STARTS[request.param]).webui.url


@pytest.fixture
def http(asked: tuple[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=asked[1], timeout=60) as made:
        yield made


def cookie_of(http: httpx.Client) -> dict[str, str]:
    """The cookie that gradio gives bob for his password, where the page asks for one."""
    answer = http.post("/login", data={"username": BOB[0], "password": BOB[1]})
    found = re.search(r"access-token-unsecure=([^;]+)", answer.headers.get("set-cookie", ""))
    return {"Cookie": f"access-token-unsecure={found[1]}"} if found else {}


def statuses(http: httpx.Client, method: str, path: str, **more: Any) -> tuple[int, ...]:
    """For the columns of ``TABLE``."""
    cookie = cookie_of(http)
    http.cookies.clear()
    found = []
    for auth in (None, ("alice", "wrong"), EVE, ALICE, BOB):
        found.append(http.request(method, path, auth=auth, **more).status_code)
        http.cookies.clear()
    more["headers"] = {**more.get("headers", {}), **cookie}
    return (*found, http.request(method, path, **more).status_code)


def test_who_may_ask(asked: tuple[str, str], http: httpx.Client) -> None:
    assert statuses(http, "GET", JOBS) == TABLE[asked[0]]
    assert statuses(http, "PUT", UNCOND, json={}) == TABLE[asked[0]]
    assert http.get(f"{JOBS}/x/files/y", auth=EVE).status_code == (404 if asked[0] == "none" else 401)
    guess = {"Cookie": "access-token=guess; astolfo-page=guess"}
    assert http.get(JOBS, headers=guess).status_code == TABLE[asked[0]][0]


def test_the_hosts_own_routes_are_no_more_open(asked: tuple[str, str], http: httpx.Client) -> None:
    own = http.get("/sdapi/v1/options").status_code
    assert own == (401 if "api" in asked[0] or asked[0] == "both" else 200)
    assert http.get("/docs").status_code == 200
    described = http.get("/openapi.json").json()["paths"]
    assert described[UNCOND]["put"]["summary"]
    assert described["/astolfo/v1/merge"]["post"]["security"] == [{"HTTPBasic": []}]


def test_other_sites_change_nothing(asked: tuple[str, str], http: httpx.Client) -> None:
    auth = BOB if asked[0] == "page" else ALICE
    for headers, status in (
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": asked[1]}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": asked[1]}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": asked[1]}, 200),
    ):
        assert http.put(UNCOND, json={}, auth=auth, headers=headers).status_code == status, headers


def test_the_open_page_has_a_key_for_the_closed_api(asked: tuple[str, str], http: httpx.Client) -> None:
    page = http.get("/config")
    found = re.search(r'data-key=\\"([^"\\]*)\\"', page.text)
    if asked[0] == "api, no page":
        assert page.status_code == 404
    elif asked[0] in ("page", "both"):
        assert page.status_code == 401
    elif asked[0] == "none":
        assert found is not None and found[1] == ""
    else:
        assert found is not None and len(found[1]) > 30
        assert http.get(JOBS, headers={"Cookie": f"astolfo-page={found[1]}"}).status_code == 200
        assert http.get(JOBS, headers={"Cookie": f"astolfo-page={found[1][:-1]}"}).status_code == 401


def test_users_from_a_file(stage: Stage, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("bob:p:w\ncarl:x,dora:y\n", encoding="utf-8")
    url = stage.at(Start(flags=("--gradio-auth-path", str(users)))).webui.url
    with httpx.Client(base_url=url, timeout=60) as http:
        found = [http.get(JOBS, auth=auth).status_code for auth in (BOB, ("dora", "y"), EVE, None)]
    assert found == [200, 200, 401, 401]
