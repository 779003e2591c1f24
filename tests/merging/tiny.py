"""Tiny checkpoints in the real layouts, and the same merges done plainly: whole tensors, fp32, no chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

UNET = "model.diffusion_model."
POSITION_IDS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"
#: name -> shape; every block kind of SDXL at width 8
SDXL_SHAPES: dict[str, tuple[int, ...]] = {
    UNET + "time_embed.0.weight": (32, 8),
    UNET + "time_embed.0.bias": (32,),
    UNET + "label_emb.0.0.weight": (32, 12),
    UNET + "input_blocks.0.0.weight": (8, 4, 3, 3),
    UNET + "input_blocks.0.0.bias": (8,),
    UNET + "input_blocks.1.0.out_layers.3.weight": (8, 8, 3, 3),
    UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (16, 20),
    UNET + "input_blocks.8.0.in_layers.0.bias": (33,),
    UNET + "middle_block.1.proj_in.weight": (40, 41),
    UNET + "output_blocks.0.0.in_layers.2.weight": (16, 8, 3, 3),
    UNET + "output_blocks.8.0.in_layers.2.bias": (7,),
    UNET + "out.2.weight": (4, 8, 3, 3),
    "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": (50, 8),
    "conditioner.embedders.1.model.text_projection": (12, 12),
    "conditioner.embedders.1.model.logit_scale": (),
    "first_stage_model.decoder.conv_out.weight": (3, 8, 3, 3),
    "first_stage_model.encoder.conv_in.bias": (9,),
}
SD1_SHAPES: dict[str, tuple[int, ...]] = {
    UNET + "time_embed.0.weight": (32, 8),
    UNET + "input_blocks.0.0.weight": (8, 4, 3, 3),
    UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, 20),
    UNET + "input_blocks.11.0.in_layers.0.bias": (8,),
    UNET + "middle_block.0.in_layers.0.bias": (8,),
    UNET + "output_blocks.11.0.in_layers.0.bias": (8,),
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (50, 20),
    "first_stage_model.decoder.conv_out.weight": (3, 8, 3, 3),
}

#: What the fixture ``make`` is: make(name, seed, dtype, shapes, extra=…, drop=…, metadata=…) -> path.
Make = Callable[..., Path]


def tensors(
    seed: int, dtype: torch.dtype = torch.float16, shapes: Mapping[str, tuple[int, ...]] = SDXL_SHAPES
) -> dict[str, Tensor]:
    """Random tensors; SDXL ones with integer position ids."""
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    if shapes is SDXL_SHAPES:
        made[POSITION_IDS] = torch.arange(77).view(1, 77)
    return made


def load(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, read by the safetensors library."""
    return load_file(path)


def weighted_sum(a: Tensor, b: Tensor, alpha: float, dtype: torch.dtype) -> Tensor:
    """fp32 lerp, rounded once."""
    return a.float().lerp(b.float(), alpha).to(dtype)


def add_difference(a: Tensor, b: Tensor, c: Tensor, alpha: float, dtype: torch.dtype) -> Tensor:
    """fp32, rounded once."""
    return (a.float() + (b.float() - c.float()) * alpha).to(dtype)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal dtype, shape and bytes."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
