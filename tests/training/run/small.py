"""A tiny real model, eight captioned pictures, and settings under which a run of them takes seconds."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.run.outcome import Outcome
from lib_astolfo.training.run.run import Run
from lib_astolfo.training.run.seen import Free
from lib_astolfo.training.run.settings import RunSettings
from tests.hosts import tiny

NAME = "sd1.safetensors"
SIZES = ((16, 16), (16, 24), (24, 16))


def models(folder: Path) -> Path:
    """A folder with a tiny SD1 model and its architecture beside it."""
    architecture = tiny.write_architecture(folder / "architectures", "tiny-sd1")
    (folder / "models").mkdir(parents=True)
    tiny.save(folder / "models" / NAME, tiny.random_weights(architecture))
    return folder


def host(folder: Path, outputs: Path) -> StandaloneHost:
    """A host of its own with the model loaded."""
    made = StandaloneHost([folder / "models"], outputs, device="cpu", architectures=[folder / "architectures"])
    made.load(NAME)
    return made


def pictures(folder: Path, count: int = 8, sizes: tuple[tuple[int, int], ...] = SIZES) -> Path:
    """Captioned pictures of these shapes."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    for index in range(count):
        wide, high = sizes[index % len(sizes)]
        pixels = random.integers(0, 255, (high, wide, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
        (folder / f"{index:02}.txt").write_text(f"cat {index}, red, small, on a mat", encoding="utf-8")
    return folder


def settings(data: Path, changes: dict[str, Any] | None = None) -> RunSettings:
    """Settings of a short run; ``changes`` as in YAML."""
    values: dict[str, Any] = {
        "select": [{"name": "unet", "words": ["OUT05", "M00"], "rate": 0.0}],
        "plan": {"epochs": 4, "rate": 1e-3},
        "batch": 2,
        "accumulate": 1,
        "seed": 3,
        "watch": {"validation": {"share": 0.0, "every": 0}, "tensorboard": False},
        "save": {"minutes": 0.0},
        "snapshots": {"epochs": 0},
        "data": {
            "sources": [{"path": str(data)}],
            "pictures": {"shortest": 8},
            "buckets": {"width": 16, "height": 24, "smallest": 8, "longest": 32, "steps": 8},
            "captions": {"dropout": 0.25},
        },
    }
    return RunSettings.from_dict(merged(values, changes or {}))


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``values`` with ``changes`` in them, mappings key by key."""
    found = dict(values)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


def run(made: RunSettings, where: StandaloneHost, folder: Path, control: Any = None, **options: Any) -> Outcome:
    """A whole run."""
    return Run(made, where, folder, control or Free(), **options).go()


def checksum(tensors: dict[str, Tensor]) -> int:
    """Of all bits."""
    found = 0
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(name.encode(), found)
        found = zlib.crc32(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes(), found)
    return found


def finite(parts: dict[str, dict[str, Tensor]]) -> bool:
    """Whether every number of a state is."""
    return all(bool(torch.isfinite(tensor).all()) for held in parts.values() for tensor in held.values())
