"""The tiny SDXL of the digits laboratory: which tensors it has, and a random checkpoint to start training from.

The sizes stand in ``configs/architectures/digits`` (diffusers layout), the names are those of Stability's original
SDXL file (generative-models, ``sgm/modules/diffusionmodules/openaimodel.py`` and ``model.py``), so that every program
that reads SDXL reads this one. ``shapes`` works for any config folder of that layout, the full-size SDXL too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ARCHITECTURE = "digits"
FOLDER = Path(__file__).resolve().parents[2] / "configs" / "architectures" / ARCHITECTURE
UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP_L = "conditioner.embedders.0.transformer.text_model."
CLIP_G = "conditioner.embedders.1.model."

Named = Iterator[tuple[str, tuple[int, ...]]]


def build(seed: int = 0) -> dict[str, Tensor]:
    """A random, untrained digits checkpoint with its finished VAE.

    Returns float32 tensors under original names (``logit_scale`` and ``position_ids`` as SDXL has them). The same seed
    gives the same bits. Linear and convolution weights are uniform in ±1/√fan_in as torch's own layers; the last layer
    of every residual branch of the UNet is zero, as in sgm (``zero_module``); CLIP embeddings are normal as in
    transformers' CLIP.
    """
    from lib_astolfo.demo.vae import analytic_weights

    generator = torch.Generator().manual_seed(seed)
    every = shapes()
    tensors = {
        name: _initial(name, shape, every, generator) for name, shape in every.items() if not name.startswith(VAE)
    }
    vae = analytic_weights({name: shape for name, shape in every.items() if name.startswith(VAE)})
    return tensors | vae


def config(component: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The ``config.json`` of a component (unet, vae, text_encoder, text_encoder_2) of an architecture folder."""
    return dict(json.loads((folder / component / "config.json").read_text(encoding="utf-8")))


def shapes(folder: Path = FOLDER) -> dict[str, tuple[int, ...]]:
    """Original name → shape of every tensor of an SDXL whose sizes stand in ``folder`` (diffusers layout)."""
    named: dict[str, tuple[int, ...]] = {}
    named.update(_clip_l(config("text_encoder", folder)))
    named.update(_clip_g(config("text_encoder_2", folder)))
    named.update((VAE + name, shape) for name, shape in _vae(config("vae", folder)))
    named.update((UNET + name, shape) for name, shape in _unet(config("unet", folder)))
    return named


# -- initial values ----------------------------------------------------------------------------------------------------


def _initial(
    name: str, shape: tuple[int, ...], every: dict[str, tuple[int, ...]], generator: torch.Generator
) -> Tensor:
    if name.endswith("position_ids"):
        return torch.arange(shape[1], dtype=torch.int64)[None]
    if name.endswith("logit_scale"):
        return torch.tensor(math.log(1 / 0.07))
    if _is_zero_at_start(name):
        return torch.zeros(shape)
    if "embedding" in name:
        return torch.randn(shape, generator=generator) * (0.01 if "position" in name else 0.02)
    if name.endswith("text_projection"):
        return torch.randn(shape, generator=generator) * shape[0] ** -0.5
    weight = (
        every.get(name.removesuffix("bias") + "weight") or every.get(name.removesuffix("_bias") + "_weight") or shape
    )
    if len(weight) == 1:  # a norm
        return torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
    bound = math.prod(weight[1:]) ** -0.5
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def _is_zero_at_start(name: str) -> bool:
    if not name.startswith(UNET):
        return name.startswith((CLIP_L, CLIP_G)) and name.endswith("bias")
    parts = name.removeprefix(UNET).split(".")
    return parts[:2] == ["out", "2"] or parts[-3:-1] == ["out_layers", "3"] or parts[-2] == "proj_out"


# -- names and shapes --------------------------------------------------------------------------------------------------


def _affine(name: str, *weight: int, bias: bool = True) -> Named:
    yield f"{name}.weight", weight
    if bias:
        yield f"{name}.bias", weight[:1]


def _unet(sizes: dict[str, Any]) -> Named:
    channels, layers = sizes["block_out_channels"], sizes["layers_per_block"]
    depths = [
        depth if kind.startswith("CrossAttn") else 0
        for depth, kind in zip(sizes["transformer_layers_per_block"], sizes["down_block_types"], strict=True)
    ]
    context, time = sizes["cross_attention_dim"], 4 * channels[0]
    for name, width in (("time_embed", channels[0]), ("label_emb.0", sizes["projection_class_embeddings_input_dim"])):
        yield from _affine(f"{name}.0", time, width)
        yield from _affine(f"{name}.2", time, time)
    yield from _affine("input_blocks.0.0", channels[0], sizes["in_channels"], 3, 3)
    skips, width, index = [channels[0]], channels[0], 1
    for level, (out, depth) in enumerate(zip(channels, depths, strict=True)):
        for _ in range(layers):
            yield from _resblock(f"input_blocks.{index}.0", width, out, time)
            yield from _transformer(f"input_blocks.{index}.1", out, depth, context)
            width, index = out, index + 1
            skips.append(out)
        if level < len(channels) - 1:
            yield from _affine(f"input_blocks.{index}.0.op", out, out, 3, 3)
            skips.append(out)
            index += 1
    yield from _resblock("middle_block.0", width, width, time)
    yield from _transformer("middle_block.1", width, depths[-1], context)
    yield from _resblock("middle_block.2", width, width, time)
    index = 0
    for level in reversed(range(len(channels))):
        for layer in range(layers + 1):
            yield from _resblock(f"output_blocks.{index}.0", width + skips.pop(), channels[level], time)
            width = channels[level]
            yield from _transformer(f"output_blocks.{index}.1", width, depths[level], context)
            if level and layer == layers:
                yield from _affine(f"output_blocks.{index}.{2 if depths[level] else 1}.conv", width, width, 3, 3)
            index += 1
    yield from _affine("out.0", width)
    yield from _affine("out.2", sizes["out_channels"], width, 3, 3)


def _resblock(name: str, width: int, out: int, time: int) -> Named:
    yield from _affine(f"{name}.in_layers.0", width)
    yield from _affine(f"{name}.in_layers.2", out, width, 3, 3)
    yield from _affine(f"{name}.emb_layers.1", out, time)
    yield from _affine(f"{name}.out_layers.0", out)
    yield from _affine(f"{name}.out_layers.3", out, out, 3, 3)
    if width != out:
        yield from _affine(f"{name}.skip_connection", out, width, 1, 1)


def _transformer(name: str, width: int, depth: int, context: int) -> Named:
    if not depth:
        return
    yield from _affine(f"{name}.norm", width)
    yield from _affine(f"{name}.proj_in", width, width)
    for block in (f"{name}.transformer_blocks.{index}" for index in range(depth)):
        for attention, source in (("attn1", width), ("attn2", context)):
            yield from _affine(f"{block}.{attention}.to_q", width, width, bias=False)
            yield from _affine(f"{block}.{attention}.to_k", width, source, bias=False)
            yield from _affine(f"{block}.{attention}.to_v", width, source, bias=False)
            yield from _affine(f"{block}.{attention}.to_out.0", width, width)
        yield from _affine(f"{block}.ff.net.0.proj", 8 * width, width)
        yield from _affine(f"{block}.ff.net.2", width, 4 * width)
        for norm in ("norm1", "norm2", "norm3"):
            yield from _affine(f"{block}.{norm}", width)
    yield from _affine(f"{name}.proj_out", width, width)


def _vae(sizes: dict[str, Any]) -> Named:
    channels, layers, latent = sizes["block_out_channels"], sizes["layers_per_block"], sizes["latent_channels"]
    yield from _affine("encoder.conv_in", channels[0], sizes["in_channels"], 3, 3)
    width = channels[0]
    for level, out in enumerate(channels):
        for layer in range(layers):
            yield from _vae_resblock(f"encoder.down.{level}.block.{layer}", width, out)
            width = out
        if level < len(channels) - 1:
            yield from _affine(f"encoder.down.{level}.downsample.conv", out, out, 3, 3)
    yield from _vae_middle("encoder", width)
    yield from _affine("encoder.conv_out", 2 * latent, width, 3, 3)
    yield from _affine("quant_conv", 2 * latent, 2 * latent, 1, 1)
    yield from _affine("post_quant_conv", latent, latent, 1, 1)
    yield from _affine("decoder.conv_in", width, latent, 3, 3)
    for level in reversed(range(len(channels))):
        for layer in range(layers + 1):
            yield from _vae_resblock(f"decoder.up.{level}.block.{layer}", width, channels[level])
            width = channels[level]
        if level:
            yield from _affine(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    yield from _vae_middle("decoder", channels[-1])
    yield from _affine("decoder.norm_out", width)
    yield from _affine("decoder.conv_out", sizes["out_channels"], width, 3, 3)


def _vae_middle(side: str, width: int) -> Named:
    yield from _vae_resblock(f"{side}.mid.block_1", width, width)
    yield from _affine(f"{side}.mid.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        yield from _affine(f"{side}.mid.attn_1.{part}", width, width, 1, 1)
    yield from _vae_resblock(f"{side}.mid.block_2", width, width)
    if side == "encoder":
        yield from _affine("encoder.norm_out", width)


def _vae_resblock(name: str, width: int, out: int) -> Named:
    yield from _affine(f"{name}.norm1", width)
    yield from _affine(f"{name}.conv1", out, width, 3, 3)
    yield from _affine(f"{name}.norm2", out)
    yield from _affine(f"{name}.conv2", out, out, 3, 3)
    if width != out:
        yield from _affine(f"{name}.nin_shortcut", out, width, 1, 1)


def _clip_l(sizes: dict[str, Any]) -> Named:
    width, positions = sizes["hidden_size"], sizes["max_position_embeddings"]
    yield f"{CLIP_L}embeddings.position_ids", (1, positions)
    yield f"{CLIP_L}embeddings.token_embedding.weight", (sizes["vocab_size"], width)
    yield f"{CLIP_L}embeddings.position_embedding.weight", (positions, width)
    for layer in (f"{CLIP_L}encoder.layers.{index}" for index in range(sizes["num_hidden_layers"])):
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from _affine(f"{layer}.self_attn.{part}", width, width)
        yield from _affine(f"{layer}.layer_norm1", width)
        yield from _affine(f"{layer}.mlp.fc1", sizes["intermediate_size"], width)
        yield from _affine(f"{layer}.mlp.fc2", width, sizes["intermediate_size"])
        yield from _affine(f"{layer}.layer_norm2", width)
    yield from _affine(f"{CLIP_L}final_layer_norm", width)


def _clip_g(sizes: dict[str, Any]) -> Named:
    width = sizes["hidden_size"]
    yield f"{CLIP_G}positional_embedding", (sizes["max_position_embeddings"], width)
    yield f"{CLIP_G}text_projection", (width, sizes["projection_dim"])
    yield f"{CLIP_G}logit_scale", ()
    yield f"{CLIP_G}token_embedding.weight", (sizes["vocab_size"], width)
    for block in (f"{CLIP_G}transformer.resblocks.{index}" for index in range(sizes["num_hidden_layers"])):
        yield from _affine(f"{block}.ln_1", width)
        yield f"{block}.attn.in_proj_weight", (3 * width, width)
        yield f"{block}.attn.in_proj_bias", (3 * width,)
        yield from _affine(f"{block}.attn.out_proj", width, width)
        yield from _affine(f"{block}.ln_2", width)
        yield from _affine(f"{block}.mlp.c_fc", sizes["intermediate_size"], width)
        yield from _affine(f"{block}.mlp.c_proj", width, sizes["intermediate_size"])
    yield from _affine(f"{CLIP_G}ln_final", width)
