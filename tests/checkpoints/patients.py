"""Small checkpoints that something is wrong with: the digits model, changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lib_astolfo import demo
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save

UNET = "model.diffusion_model."
FIRST = UNET + "input_blocks.0.0.weight"
CLIP_L = "conditioner.embedders.0.transformer.text_model."
IDS = CLIP_L + "embeddings.position_ids"
VAE = "first_stage_model."
EMPTY = torch.empty(0)


def tensors(model: str = demo.BASE) -> dict[str, Tensor]:
    """The digits model, whole: fp16 weights, int64 position ids."""
    return load(demo.models_folder() / model)


def load(path: Path) -> dict[str, Tensor]:
    with CheckpointFile.open(path) as file:
        return {name: file.tensor(name).clone() for name in file.tensors}


def write(
    path: Path,
    changed: Mapping[str, Tensor] | None = None,
    *,
    drop: Iterable[str] = (),
    metadata: Mapping[str, str] | None = None,
    model: str = demo.BASE,
) -> Path:
    """The digits model with tensors added or changed, and those dropped whose name begins so."""
    starts = tuple(drop)
    kept = {name: tensor for name, tensor in tensors(model).items() if not starts or not name.startswith(starts)}
    save(path, {**kept, **(changed or {})}, metadata or {"modelspec.title": "Σ"}, overwrite=True)
    return path


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Equal names, dtypes and bits."""
    if one.keys() != other.keys():
        return False
    return all(
        tensor.dtype == other[name].dtype and torch.equal(tensor.nan_to_num(), other[name].nan_to_num())
        for name, tensor in one.items()
    )
