"""Small files for the tests of this room."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints.writer import save
from tests.keylists import full_size


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Path]:
    """Write a file byte by byte: ``raw(header, data)``; a header that is not bytes is written as JSON."""

    def write(header: object, data: bytes = b"", *, length: int | None = None, name: str = "raw.safetensors") -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8")
        path = tmp_path / name
        path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
        return path

    return write


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    """One tensor of each kind that checkpoints hold."""
    torch.manual_seed(0)
    return {
        "half": torch.randn(3, 5).half(),
        "brain": torch.randn(7).bfloat16(),
        "single": torch.randn(2, 3, 3, 3),
        "double": torch.randn(2, 2, dtype=torch.float64),
        "fp8": torch.randn(9).to(torch.float8_e4m3fn),
        "fp8_wide": torch.randn(4).to(torch.float8_e5m2),
        "position_ids": torch.arange(77)[None],
        "flags": torch.tensor([True, False, True]),
        "scalar": torch.tensor(4.6),
        "v_pred": torch.empty(0),
        "ключ ΣΙΗ 日本": torch.ones(2),
    }


@pytest.fixture
def thin(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint with all names of a family but thin tensors: ``thin("sdxl", extra={...}, metadata={...})``.

    Only what detection looks at keeps its size: the first convolution, one attention, the label embedding.
    """

    def write(
        family: str,
        kind: str = "base",
        *,
        extra: Mapping[str, torch.Tensor] | None = None,
        metadata: Mapping[str, str] | None = None,
        name: str = "model.safetensors",
    ) -> Path:
        kept = ("input_blocks.0.0.weight", "attn2.to_k.weight", "label_emb.0.0.weight", "out_layers.3.weight")
        tensors: dict[str, torch.Tensor] = {}
        for key, (dtype, shape) in full_size(family, kind).items():
            thin_shape = tuple(min(n, 2) for n in shape) if not key.endswith(kept) else _thin(key, shape)
            tensors[key] = torch.zeros(thin_shape, dtype=dtype)
        tensors.update(extra or {})
        save(tmp_path / name, tensors, metadata, overwrite=True)
        return tmp_path / name

    return write


def _thin(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if key.endswith("input_blocks.0.0.weight"):
        return (shape[0], shape[1], 1, 1)
    if key.endswith("out_layers.3.weight"):
        return (shape[0], 1, 1, 1)
    return (1, shape[1])
