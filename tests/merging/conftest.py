"""Writes tiny checkpoints and finds them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_astolfo.checkpoints.writer import save
from tests.merging.tiny import SDXL_SHAPES, Make, tensors


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An empty folder for checkpoints."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def make(models: Path) -> Make:
    """make(name, seed, dtype=…, shapes=…, extra={…}, drop=(…), metadata={…}) writes a checkpoint and gives its path."""

    def write(
        name: str,
        seed: int,
        dtype: torch.dtype = torch.float16,
        shapes: Mapping[str, tuple[int, ...]] = SDXL_SHAPES,
        *,
        extra: Mapping[str, Tensor] | None = None,
        drop: tuple[str, ...] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        made = {**tensors(seed, dtype, shapes), **(extra or {})}
        path = models / f"{name}.safetensors"
        save(path, {key: value for key, value in made.items() if key not in drop}, metadata or {}, overwrite=True)
        return path

    return write


@pytest.fixture
def resolve(models: Path) -> Callable[[str], Path]:
    """A checkpoint's name is that of its file without the ending."""
    return lambda name: models / f"{name}.safetensors"


@pytest.fixture
def files(make: Make) -> None:
    """Three checkpoints of one layout, a, b and c."""
    make("a", 1)
    make("b", 2)
    make("c", 3, torch.bfloat16)
