"""Tiny models of SD1 and SDXL in memory, and the tensors of theirs that can be trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_astolfo.hosts.standalone import StandaloneHost
from tests.hosts import tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``sdxl`` and ``sd1``, and the same in fp16 and bf16, which are read only; the architectures beside them."""
    import torch

    root = tmp_path_factory.mktemp("forms")
    tiny.write_architecture(root / "architectures", "tiny-sd1")
    made = {
        "sdxl": (tiny.random_weights(tiny.DIGITS), {"astolfo.architecture": "digits"}),
        "sd1": (tiny.random_weights(root / "architectures" / "tiny-sd1"), {}),
    }
    for name, (tensors, metadata) in made.items():
        tiny.save(root / f"{name}.safetensors", tensors, metadata)
        for kind, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
            half = {key: t.to(dtype) if t.is_floating_point() else t for key, t in tensors.items()}
            tiny.save(root / f"{name}-{kind}.safetensors", half, metadata)
    return root


@pytest.fixture
def host(folder: Path, tmp_path: Path) -> Iterator[StandaloneHost]:
    """A host of its own; weights in float32, whatever the file has."""
    made = StandaloneHost([folder], tmp_path / "out", device="cpu", architectures=[folder / "architectures"])
    yield made
    made.unload()
