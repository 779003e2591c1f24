"""A client of the app on a real queue and the real host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lib_astolfo.api.app import create_app
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.hosts.standalone import StandaloneHost
from tests.commands import pair

V1 = "/astolfo/v1"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    models = pair.write(tmp_path / "models")
    made = Workspace(StandaloneHost([models], tmp_path / "outputs", device="cpu", auth=""))
    made.start()
    yield made
    made.shutdown()
    made.host.unload()


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    with TestClient(create_app(workspace, local_only=True), base_url="http://127.0.0.1:7865") as made:
        yield made


@pytest.fixture
def over(client: TestClient, workspace: Workspace) -> Callable[[Any], dict[str, Any]]:
    """The job of a 202 answer, when it is over."""

    def wait(answer: Any) -> dict[str, Any]:
        assert answer.status_code == 202, answer.text
        workspace.jobs.wait(answer.json()["id"], 60)
        return client.get(f"{V1}/jobs/{answer.json()['id']}").json()

    return wait
