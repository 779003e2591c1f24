"""What the browser tests of a study's page share."""

from __future__ import annotations

import json
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.ui.browsing import LOAD_MS, LOGIN


def ask(server: str, path: str, body: Any = None) -> Any:
    login = b64encode(":".join(LOGIN).encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server}astolfo/v1/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def until(page: Any, code: str) -> None:
    """Wait until an expression is true. The page lets nobody evaluate text, so that it is asked from outside."""
    end = time.monotonic() + LOAD_MS / 1000
    while not page.evaluate(f"Boolean({code})"):
        assert time.monotonic() < end, code
        page.wait_for_timeout(50)


Show = Callable[..., Any]


@contextmanager
def shown(chromium: Any) -> Iterator[Show]:
    """``show(address, width=, height=, theme=)``: the page once a cell is there. The browser must not complain."""
    complaints: list[str] = []
    pages = []

    def make(address: str, width: int = 1280, height: int = 900, theme: str = "light") -> Any:
        login = {"username": LOGIN[0], "password": LOGIN[1]}
        context = chromium.new_context(
            viewport={"width": width, "height": height}, http_credentials=login, color_scheme=theme
        )
        page = context.new_page()
        pages.append(context)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_selector(".cell canvas", timeout=LOAD_MS)
        until(page, "look.cells().length && look.image(look.cells()[0])")
        return page

    yield make
    for context in pages:
        context.close()
    assert complaints == []


def colour(page: Any, selector: str) -> tuple[int, ...]:
    """The colour in the middle of a canvas."""
    code = """(selector) => { const c = document.querySelector(selector);
      return [...c.getContext('2d').getImageData(c.width / 2 | 0, c.height / 2 | 0, 1, 1).data].slice(0, 3); }"""
    return tuple(page.evaluate(code, selector))
