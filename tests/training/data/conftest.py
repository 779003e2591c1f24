"""Small real pictures on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Paint = Callable[..., Path]


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """paint(name, size, caption, seed): a noise picture below tmp_path, with a .txt beside it if it has a caption."""

    def make(name: str, size: tuple[int, int] = (64, 64), caption: str | None = "a, b", seed: Any = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(sum(name.encode("utf-8", "replace")) if seed is None else seed)
        pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, "utf-8")
        return path

    return make
