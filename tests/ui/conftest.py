"""Fixtures: a workspace on two random digits checkpoints, and the real server in headless Chromium."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.checkpoints import sidecar, writer
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import architecture
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.standalone import StandaloneHost
from tests.ui.browsing import ALLOWED, LOAD_MS, LOGIN, MERGE, ROOT, START_SECONDS, Open, browser


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with an eps and a v checkpoint. Read only."""
    folder = tmp_path_factory.mktemp("models")
    for seed, prediction in enumerate(("eps", "v")):
        path = folder / f"digits-{prediction}.safetensors"
        writer.save(path, architecture.build(seed), {"astolfo.architecture": "digits"})
        sidecar.write(path, Sampling(prediction), _layout(path))
    return folder


def _layout(path: Path) -> object:
    from lib_astolfo.checkpoints.prediction import layout_of
    from lib_astolfo.checkpoints.reader import CheckpointFile

    with CheckpointFile.open(path) as file:
        return layout_of(file)


@pytest.fixture
def workspace(digits: Path, tmp_path: Path) -> Iterator[Workspace]:
    """Jobs are queued and not run, unless the test starts them."""
    made = Workspace(StandaloneHost([tmp_path / "models", digits], tmp_path / "outputs", device="cpu"))
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the digits models and an empty models folder before them; it asks for a login."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "models").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lib_astolfo", "serve", f"port={port}"]
    command += ["--models", str(folder / "models"), "--outputs", str(folder / "outputs")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "ASTOLFO_AUTH": ":".join(LOGIN)}
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/astolfo/v1/jobs", process, folder / "log")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            pytest.fail("the server asks for no credentials")
        except urllib.error.HTTPError as error:
            assert error.code == 401, error
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server did not come up:\n{log.read_text('utf-8', 'replace')}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as made:
        yield made


@pytest.fixture
def open_page(chromium: Any, server: str) -> Iterator[Open]:
    """``open_page(width=, theme=)``: the tab once it is ready. Whatever the browser complains of fails the test."""
    complaints: list[str] = []
    pages = []

    def note(message: Any) -> None:
        where = (message.location or {}).get("url", "")
        if message.type == "error" and ALLOWED not in where:
            complaints.append(f"{message.text} ({where})")

    def asked(request: Any) -> None:
        if not request.url.startswith((server, server.replace("http", "ws"), "data:", "blob:")):
            complaints.extend([] if ALLOWED in request.url else [f"asked {request.url}"])

    def make(width: int = 1200, height: int = 950, theme: str = "light") -> Any:
        login = {"username": LOGIN[0], "password": LOGIN[1]}
        page = chromium.new_page(viewport={"width": width, "height": height}, http_credentials=login)
        pages.append(page)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", asked)
        page.goto(f"{server}?__theme={theme}")
        page.wait_for_selector(MERGE, timeout=LOAD_MS)
        return page

    yield make
    for page in pages:
        page.close()
    assert complaints == []
