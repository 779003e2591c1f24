"""Random checkpoints for the WebUIs under original names; their values matter in a picture.

The sizes are written as diffusers' configs, as the standalone host reads them, which can load the same files.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lib_astolfo.hosts.standalone import architecture
from tests.hosts import tiny

CODES = {torch.float16: "F16", torch.float32: "F32", torch.int64: "I64"}
Tensors = dict[str, torch.Tensor]


def text_config(act: str, width: int, layers: int, heads: int) -> dict[str, Any]:
    """A CLIP text encoder with CLIP's own vocabulary."""
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": 49408,
        "max_position_embeddings": 77,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 49407 if act == "quick_gelu" else 0,
        "hidden_act": act,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "projection_dim": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "layer_norm_eps": 1e-5,
    }


def unet_config(channels: list[int], depths: list[int], context: int, heads: int | list[int]) -> dict[str, Any]:
    """A UNet with ``depths`` transformer blocks per level; ``heads`` a list is SDXL's kind: linear, with a vector."""
    config: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel",
        "attention_head_dim": heads,
        "block_out_channels": channels,
        "cross_attention_dim": context,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [max(depth, 1) for depth in depths],
        "layers_per_block": 2,
        "in_channels": 4,
        "out_channels": 4,
        "sample_size": 8,
        "use_linear_projection": isinstance(heads, list),
    }
    return config


def vector_config(pooled: int) -> dict[str, Any]:
    """SDXL's vector: ``pooled`` numbers of the text and six size ids of 256."""
    width = pooled + 6 * 256
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": width,
    }


def vae_config(channels: list[int], layers: int, scale: float) -> dict[str, Any]:
    """A KL VAE; one latent pixel is 8 picture pixels when there are four levels."""
    return {
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "layers_per_block": layers,
        "sample_size": 64,
        "scaling_factor": scale,
    }


def write_architecture(folder: Path, parts: Mapping[str, Mapping[str, Any]]) -> Path:
    """An architecture folder as the standalone host reads it: one config.json per part."""
    for part, values in parts.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(values))
    return folder


def random_weights(folder: Path, *, seed: int, in_channels: int = 4, zeros: str = "") -> Tensors:
    """float16 values in which the prompt, the uncond and the prediction type visibly matter.

    ``zeros``: a pattern; matrices with such names are zeros.
    """
    family = architecture.read(folder).family
    generator = torch.Generator().manual_seed(seed)
    tensors: Tensors = {architecture.CLIP_L[family] + tiny.POSITIONS: torch.arange(77)[None]}
    for name, shape in tiny.original_shapes(folder, in_channels=in_channels).items():
        if zeros and len(shape) == 2 and re.search(zeros, name):
            tensors[name] = torch.zeros(shape, dtype=torch.float16)
            continue
        value = tiny.random_values(name, shape, generator)
        if ".attn2.to_" in name and value.ndim == 2:
            value.mul_(2.0)
        if name == "first_stage_model.decoder.conv_out.weight":
            value.mul_(0.5)
        # A latent is drawn from the encoder's distribution without a seed; a real VAE's is narrow.
        if name.startswith("first_stage_model.quant_conv."):
            value[4:] = -30.0 if value.ndim == 1 else 0.0
        tensors[name] = value.half()
    return tensors


def lora(tensors: Tensors, *, seed: int, rank: int = 2) -> Tensors:
    """A LoRA on the cross attention of the UNet of ``tensors``, under the names both hosts know."""
    generator = torch.Generator().manual_seed(seed)
    made: Tensors = {}
    for name, weight in tensors.items():
        if ".attn2.to_" not in name or weight.ndim != 2:
            continue
        module = name.removeprefix("model.diffusion_model.").removesuffix(".weight").replace(".", "_")
        down = torch.randn(rank, weight.shape[1], generator=generator) * weight.shape[1] ** -0.5
        made[f"lora_unet_{module}.lora_down.weight"] = down.half()
        made[f"lora_unet_{module}.lora_up.weight"] = torch.randn(weight.shape[0], rank, generator=generator).half()
        made[f"lora_unet_{module}.alpha"] = torch.tensor(float(rank))
    return made


def save(path: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a safetensors file; tensors of zeros take no room on disk (a hole in the file)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name, value in tensors.items():
        start, end = end, end + value.numel() * value.element_size()
        header[name] = {"dtype": CODES[value.dtype], "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        first = file.tell()
        for name, value in tensors.items():
            if value.numel() and bool(value.any()):
                file.seek(first + header[name]["data_offsets"][0])
                file.write(value.contiguous().numpy().tobytes())
        file.truncate(first + end)
    return path
