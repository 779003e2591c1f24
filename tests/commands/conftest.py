"""A workspace on the standalone host with two random checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.hosts.standalone import StandaloneHost
from tests.commands import pair


@pytest.fixture(scope="session")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pair.write(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def models(pair_folder: Path, tmp_path: Path) -> Path:
    """A models folder of one's own."""
    return Path(shutil.copytree(pair_folder, tmp_path / "models"))


@pytest.fixture
def workspace(models: Path, tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(StandaloneHost([models], tmp_path / "outputs", device="cpu"))
    yield made
    made.shutdown()
    made.host.unload()
