"""A tagger that sees colours, and pictures of one colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.training.captioning.onnx_bytes import tagger

Paint = Callable[..., Path]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is optional")
    return tagger(tmp_path / "models" / "tiny")


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """paint(name, colour, caption): a picture of one colour below tmp_path/set, with its caption if it has one."""

    def make(name: str, colour: Any = "red", caption: str | None = None, size: tuple[int, int] = (20, 20)) -> Path:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, "utf-8")
        return path

    return make
