"""The smallest real model that learns eight captioned pictures in seconds: SD1's layout, three levels, the digits' VAE.

Three levels, since a network of convolutions that starts from noise knows a place by the borders alone; captions that
fill all tokens, since the text encoder is random.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib_astolfo.demo.architecture import FOLDER
from lib_astolfo.demo.vae import analytic_weights
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.run.settings import RunSettings
from tests.hosts import tiny
from tests.training.run import small

NAME = "smallest"
SIZES = ((64, 64), (64, 96), (96, 64))
VAE = "first_stage_model."
CHANNELS = 64
WORDS = ("red apples", "blue boats", "a cat on a mat", "ZEBRA!", "quick fox", "; night", "W", "x1 y2 z3")
UNET = {
    **tiny.unet_config(False, 4),
    "block_out_channels": [CHANNELS] * 3,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
}


def caption(words: str) -> str:
    """The words again and again, 72 letters."""
    return (f"{words} " * 40)[:72].strip()


def architecture(root: Path) -> Path:
    """Its folder, in the folder of architectures ``root``."""
    folder = tiny.write_architecture(root, "tiny-sd1").rename(root / NAME)
    (folder / "unet" / "config.json").write_text(json.dumps(UNET))
    shutil.copyfile(FOLDER / "vae" / "config.json", folder / "vae" / "config.json")
    return folder


def checkpoint(folder: Path, path: Path) -> Path:
    """An untrained one: random, but for the VAE, and the ends of residual branches and of the UNet, which are zero."""
    tensors = tiny.random_weights(folder)
    tensors |= analytic_weights({name: tuple(t.shape) for name, t in tensors.items() if name.startswith(VAE)})
    for name in tensors:
        if ".out_layers.3." in name or ".proj_out." in name or ".out.2." in name:
            tensors[name] = torch.zeros_like(tensors[name])
    path.parent.mkdir(parents=True, exist_ok=True)
    return tiny.save(path, tensors, {"astolfo.architecture": NAME})


def host(folder: Path) -> StandaloneHost:
    """A host of its own on ``folder``/models."""
    return StandaloneHost([folder / "models"], folder / "out", device="cpu", architectures=[folder / "architectures"])


def pictures(folder: Path, *, inverted: bool = False) -> Path:
    """Eight pictures of coloured squares in three shapes, with captions that say nothing of what is seen.

    ``inverted``: the same in the opposite colours.
    """
    from PIL import Image

    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    for index, words in enumerate(WORDS):
        wide, high = SIZES[index % len(SIZES)]
        squares = random.integers(0, 256, (high // 16, wide // 16, 3), dtype=np.uint8)
        squares = 255 - squares if inverted else squares
        Image.fromarray(squares.repeat(16, 0).repeat(16, 1)).save(folder / f"{index:02}.png")
        (folder / f"{index:02}.txt").write_text(caption(words), encoding="utf-8")
    return folder


def settings(data: Iterable[Path], **changes: Any) -> RunSettings:
    """A run over these folders without anything that is left out or held out; ``changes`` as in YAML."""
    values: dict[str, Any] = {
        "plan": {"epochs": 110, "rate": 3e-3, "kind": "cosine", "warmup": 0.05},
        "batch": 8,
        "accumulate": 1,
        "objective": {"times": {"stratified": True}},
        "optimiser": {"weight_decay": 0.0, "betas": [0.9, 0.99]},
        "watch": {"validation": {"share": 0.0, "every": 0}, "tensorboard": False},
        "guards": {"jump": "note", "divergence": "note"},
        "checkpointing": False,
        "save": {"minutes": 0.0},
        "snapshots": {"epochs": 0, "dtype": "fp32"},
        "data": {
            "sources": [{"path": str(folder), "repeats": 2.0} for folder in data],
            "buckets": {"width": 64, "height": 96, "smallest": 64, "longest": 96, "steps": 32},
            "captions": {"dropout": 0.0, "shuffle": False},
        },
    }
    return RunSettings.from_dict(small.merged(values, changes))
