"""A models folder with one tiny checkpoint of each family, and a host on it. Built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_astolfo.hosts.standalone import StandaloneHost
from tests.hosts import tiny


@pytest.fixture(scope="session")
def architectures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the architectures tiny-sd1 and tiny-sd2."""
    root = tmp_path_factory.mktemp("architectures")
    for name in ("tiny-sd1", "tiny-sd2"):
        tiny.write_architecture(root, name)
    return root


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, architectures: Path) -> Path:
    """sdxl, sd1, sd2 and inpainting checkpoints, about 20 MB. Read only."""
    folder = tmp_path_factory.mktemp("models")
    tiny.save(folder / "sdxl.safetensors", tiny.random_weights(tiny.DIGITS), {"astolfo.architecture": "digits"})
    for name in ("sd1", "sd2"):
        tiny.save(folder / f"{name}.safetensors", tiny.random_weights(architectures / f"tiny-{name}"))
    inpainting = tiny.random_weights(architectures / "tiny-sd1", in_channels=9)
    tiny.save(folder / "inpainting.safetensors", inpainting)
    return folder


@pytest.fixture(scope="session")
def host(models: Path, architectures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneHost]:
    """One host for tests that only load and draw."""
    outputs = tmp_path_factory.mktemp("outputs")
    made = StandaloneHost([models], outputs, device="cpu", architectures=[architectures])
    yield made
    made.unload()


@pytest.fixture
def copied(tmp_path: Path, models: Path) -> Path:
    """A models folder of its own with sdxl.safetensors, which a test may change."""
    (tmp_path / "sdxl.safetensors").write_bytes((models / "sdxl.safetensors").read_bytes())
    return tmp_path
