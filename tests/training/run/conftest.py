"""One tiny model, eight pictures, one host for all tests that leave the model as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_astolfo.hosts.standalone import StandaloneHost
from tests.training.run import small


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model. Read only."""
    return small.models(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight captioned pictures. Read only."""
    return small.pictures(tmp_path_factory.mktemp("pictures") / "data")


@pytest.fixture(scope="session")
def host(ground: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneHost]:
    """The host with the tiny model loaded."""
    made = small.host(ground, tmp_path_factory.mktemp("outputs"))
    yield made
    made.unload()


@pytest.fixture
def own_host(ground: Path, tmp_path: Path) -> Iterator[StandaloneHost]:
    """A host for tests that load and unload."""
    made = small.host(ground, tmp_path / "outputs")
    yield made
    made.unload()
