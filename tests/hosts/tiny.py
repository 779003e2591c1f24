"""Tiny random checkpoints in the layouts of SD1, SD2 and SDXL, with their architecture folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from lib_astolfo.checkpoints import writer
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone import architecture as architectures
from lib_astolfo.hosts.standalone.modules import build, parameter_shapes
from lib_astolfo.hosts.standalone.names import Target, targets

DIGITS = architectures.ARCHITECTURES / "digits"
POSITIONS = "embeddings.position_ids"


def text_config(act: str, width: int, layers: int, pad: int) -> dict[str, Any]:
    """A CLIP text encoder with the 514 tokens of the byte vocabulary."""
    return {
        "bos_token_id": 512,
        "eos_token_id": 513,
        "pad_token_id": pad,
        "hidden_act": act,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "max_position_embeddings": 77,
        "num_attention_heads": 2,
        "num_hidden_layers": layers,
        "projection_dim": width,
        "vocab_size": 514,
        "model_type": "clip_text_model",
    }


def unet_config(linear: bool, heads: int | list[int]) -> dict[str, Any]:
    """A UNet of two levels, 32 and 64 channels wide."""
    return {
        "_class_name": "UNet2DConditionModel",
        "attention_head_dim": heads,
        "block_out_channels": [32, 64],
        "cross_attention_dim": 32,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 2,
        "in_channels": 4,
        "out_channels": 4,
        "sample_size": 8,
        "use_linear_projection": linear,
    }


VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "sample_size": 16,
    "scaling_factor": 0.18215,
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def write_architecture(root: Path, name: str) -> Path:
    """The folder of ``tiny-sd1`` or ``tiny-sd2``, also usable as diffusers' ``config``."""
    folder = root / name
    is_sd1 = name == "tiny-sd1"
    parts = {
        "unet": unet_config(not is_sd1, 4 if is_sd1 else [2, 4]),
        "vae": VAE,
        "text_encoder": text_config("quick_gelu", 32, 3, 513) if is_sd1 else text_config("gelu", 32, 2, 0),
    }
    for part, values in parts.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(values))
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    source = "tokenizer" if is_sd1 else "tokenizer_2"
    shutil.copytree(DIGITS / source, folder / "tokenizer", copy_function=shutil.copyfile)
    shutil.copytree(DIGITS / "scheduler", folder / "scheduler", copy_function=shutil.copyfile)
    return folder


def original_shapes(folder: Path, *, in_channels: int = 4) -> dict[str, tuple[int, ...]]:
    """Original name -> shape of the tensors of a checkpoint of an architecture folder, but for ids of positions."""
    description = architectures.read(folder)
    shapes = parameter_shapes(build(description, in_channels=in_channels))
    return {name: _original_shape(name, wanted, shapes) for name, wanted in targets(description, shapes).items()}


def random_weights(folder: Path, *, seed: int = 0, in_channels: int = 4) -> dict[str, torch.Tensor]:
    """Random float32 tensors under original names for an architecture folder."""
    description = architectures.read(folder)
    generator = torch.Generator().manual_seed(seed)
    shapes = original_shapes(folder, in_channels=in_channels)
    tensors = {name: random_values(name, shape, generator) for name, shape in shapes.items()}
    if description.family in architectures.CLIP_L:
        tensors[architectures.CLIP_L[description.family] + POSITIONS] = torch.arange(77)[None]
    if description.family == "sd2":
        last = f"cond_stage_model.model.transformer.resblocks.{description.text[0]['num_hidden_layers']}.ln_1.weight"
        tensors[last] = torch.ones(32)
    return tensors


def _original_shape(name: str, wanted: tuple[Target, ...], shapes: dict[str, torch.Size]) -> tuple[int, ...]:
    if not wanted:
        return () if name.endswith("logit_scale") else (32, 32)
    shape = tuple(shapes[wanted[0].path])
    if len(wanted) == 3:
        return (3 * shape[0], *shape[1:])
    if name.startswith(architectures.VAE) and ".attn_1." in name and len(shape) == 2:
        return (*shape, 1, 1)
    return shape[::-1] if wanted[0].transposed else shape


def random_values(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Biases near 0, scales of norms near 1, matrices of unit gain."""
    noise = torch.randn(shape, generator=generator)
    if len(shape) < 2:
        return noise * 0.05 + (1.0 if name.endswith("weight") else 0.0)
    if "embedding" in name:
        return noise * 0.5
    return noise * (noise[0].numel() ** -0.5)


def save(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Write a checkpoint."""
    writer.save(path, tensors, metadata or {})
    return path


def fresh(folder: Path, architectures: Path, **options: Any) -> StandaloneHost:
    """A host of its own on a folder."""
    return StandaloneHost([folder], folder / "out", device="cpu", architectures=[architectures], **options)
