"""A workspace on two random digits checkpoints: real host, real queue, nothing trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_astolfo.checkpoints import sidecar, writer
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import architecture
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.standalone import StandaloneHost


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
