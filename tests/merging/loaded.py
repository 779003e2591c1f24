"""A module with a file's tensors, to merge into, and what its tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.merging.recipe import Recipe
from tests.merging.tiny import UNET, load, same_bits

Resolve = Callable[[str], Path]
KEY = UNET + "middle_block.1.proj_in.weight"
PROJECTION = "conditioner.embedders.1.model.text_projection"
VAE_KEY = "first_stage_model.decoder.conv_out.weight"


class Loaded(nn.Module):
    """A module whose parameters are a file's tensors: some transposed, some channels_last."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        super().__init__()
        self.source = CheckpointFile.open(path)
        self.names: dict[str, str] = {}
        for index, (name, value) in enumerate(load(path).items()):
            if not value.is_floating_point() or value.numel() == 0:
                continue
            value = value.to(dtype)
            if name == PROJECTION:
                value = value.t().contiguous()
            elif value.dim() == 4 and value.shape[0] == 8:
                value = value.contiguous(memory_format=torch.channels_last)
            self.register_parameter(f"p{index}", nn.Parameter(value))
            self.names[name] = f"p{index}"

    def weights(self) -> dict[str, Tensor]:
        parameters = dict(self.named_parameters())
        found = {name: parameters[key] for name, key in self.names.items()}
        found[PROJECTION] = found[PROJECTION].t()
        return found

    def copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.weights().items()}


def recipe(ratio: float = 0.3, b: str = "b", **more: object) -> Recipe:
    return Recipe("weighted_sum", {"a": "a", "b": b}, ratio, **more)  # type: ignore[arg-type]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(same_bits(a[name].contiguous(), b[name].contiguous()) for name in a)
