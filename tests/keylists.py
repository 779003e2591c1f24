"""Names, dtypes and shapes of every tensor of full-size checkpoints, for synthetic files of any family.

SD1 and SDXL come from lists of the published models (``checkpoints/golden/*_keys.json.gz``). SD2, the SDXL refiner and
the variants with more input channels are made by rule; ``test_keylists.py`` holds the rule against the two real lists.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch

Shape = tuple[int, ...]
GOLDEN = Path(__file__).parent / "checkpoints" / "golden"
CHANNELS = {"base": 4, "inpainting": 9, "pix2pix": 8}


def full_size(
    family: str, kind: str = "base", dtype: torch.dtype = torch.float16
) -> dict[str, tuple[torch.dtype, Shape]]:
    """name -> (dtype, shape) of a full-size checkpoint; integer tensors (position_ids) keep int64.

    ``family``: sd1, sd2, sdxl or sdxl_refiner; ``kind`` as in ``Layout``.
    """
    shapes = dict({"sd1": published, "sdxl": published, "sd2": _sd2, "sdxl_refiner": _refiner}[family](family))
    first = "model.diffusion_model.input_blocks.0.0.weight"
    shapes[first] = (shapes[first][0], CHANNELS[kind], 3, 3)
    return {name: (torch.int64 if name.endswith("position_ids") else dtype, shape) for name, shape in shapes.items()}


@lru_cache(maxsize=4)
def published(family: str) -> dict[str, Shape]:
    """name -> shape of the published SD1 or SDXL base model."""
    text = gzip.decompress((GOLDEN / f"{family}_keys.json.gz").read_bytes())
    return {name: tuple(shape) for name, shape in json.loads(text).items()}


def unet(
    channels: int,
    mult: Sequence[int],
    depths: Sequence[int],
    context: int,
    *,
    vector: int = 0,
    middle: int | None = None,
    linear: bool = True,
) -> dict[str, Shape]:
    """name -> shape of an LDM UNet with two residual blocks a level, without prefix.

    ``depths``: transformer blocks at each level, 0 for none; ``middle``: in the middle block (that of the last level).
    ``vector``: width of the vector conditioning, 0 for none; ``linear``: projections are linear, not 1x1 convolutions.
    """
    keys: dict[str, Shape] = {}
    emb = 4 * channels
    keys.update(_linear("time_embed.0", channels, emb) | _linear("time_embed.2", emb, emb))
    if vector:
        keys.update(_linear("label_emb.0.0", vector, emb) | _linear("label_emb.0.2", emb, emb))
    keys.update(_conv("input_blocks.0.0", 4, channels, 3))
    width, number, skips = channels, 0, [channels]
    for level, (factor, depth) in enumerate(zip(mult, depths, strict=True)):
        for _ in range(2):
            number += 1
            keys.update(_residual(f"input_blocks.{number}.0", width, factor * channels, emb))
            width = factor * channels
            keys.update(_transformer(f"input_blocks.{number}.1", width, depth, context, linear))
            skips.append(width)
        if level < len(mult) - 1:
            number += 1
            keys.update(_conv(f"input_blocks.{number}.0.op", width, width, 3))
            skips.append(width)
    keys.update(_residual("middle_block.0", width, width, emb) | _residual("middle_block.2", width, width, emb))
    keys.update(_transformer("middle_block.1", width, depths[-1] if middle is None else middle, context, linear))
    number = 0
    for level in reversed(range(len(mult))):
        for turn in range(3):
            keys.update(_residual(f"output_blocks.{number}.0", width + skips.pop(), mult[level] * channels, emb))
            width = mult[level] * channels
            keys.update(_transformer(f"output_blocks.{number}.1", width, depths[level], context, linear))
            if level and turn == 2:
                keys.update(_conv(f"output_blocks.{number}.{2 if depths[level] else 1}.conv", width, width, 3))
            number += 1
    return keys | _norm("out.0", channels) | _conv("out.2", channels, 4, 3)


def open_clip(width: int, layers: int) -> dict[str, Shape]:
    """name -> shape of an OpenCLIP text encoder, without prefix."""
    keys: dict[str, Shape] = {
        "positional_embedding": (77, width),
        "text_projection": (width, width),
        "logit_scale": (),
        "token_embedding.weight": (49408, width),
        **_norm("ln_final", width),
    }
    for layer in range(layers):
        prefix = f"transformer.resblocks.{layer}."
        keys[f"{prefix}attn.in_proj_weight"], keys[f"{prefix}attn.in_proj_bias"] = (3 * width, width), (3 * width,)
        keys.update(_linear(f"{prefix}attn.out_proj", width, width))
        keys.update(_norm(f"{prefix}ln_1", width) | _norm(f"{prefix}ln_2", width))
        keys.update(_linear(f"{prefix}mlp.c_fc", width, 4 * width) | _linear(f"{prefix}mlp.c_proj", 4 * width, width))
    return keys


def _prefixed(prefix: str, keys: dict[str, Shape]) -> Iterator[tuple[str, Shape]]:
    return ((prefix + name, shape) for name, shape in keys.items())


def _vae() -> dict[str, Shape]:
    return {name: shape for name, shape in published("sd1").items() if name.startswith("first_stage_model.")}


def _sd2(_: str) -> dict[str, Shape]:
    keys = dict(_prefixed("model.diffusion_model.", unet(320, (1, 2, 4, 4), (1, 1, 1, 0), 1024, middle=1)))
    return keys | dict(_prefixed("cond_stage_model.model.", open_clip(1024, 24))) | _vae()


def _refiner(_: str) -> dict[str, Shape]:
    network = unet(384, (1, 2, 4, 4), (0, 4, 4, 0), 1280, vector=2560, middle=4)
    keys = dict(_prefixed("model.diffusion_model.", network))
    return keys | dict(_prefixed("conditioner.embedders.0.model.", open_clip(1280, 32))) | _vae()


def _linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> dict[str, Shape]:
    keys: dict[str, Shape] = {f"{name}.weight": (outputs, inputs)}
    return keys | {f"{name}.bias": (outputs,)} if bias else keys


def _conv(name: str, inputs: int, outputs: int, size: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _residual(name: str, inputs: int, outputs: int, emb: int) -> dict[str, Shape]:
    keys = _norm(f"{name}.in_layers.0", inputs) | _conv(f"{name}.in_layers.2", inputs, outputs, 3)
    keys |= _linear(f"{name}.emb_layers.1", emb, outputs)
    keys |= _norm(f"{name}.out_layers.0", outputs) | _conv(f"{name}.out_layers.3", outputs, outputs, 3)
    return keys if inputs == outputs else keys | _conv(f"{name}.skip_connection", inputs, outputs, 1)


def _transformer(name: str, width: int, depth: int, context: int, linear: bool) -> dict[str, Shape]:
    if not depth:
        return {}
    keys = _norm(f"{name}.norm", width)
    for end in ("proj_in", "proj_out"):
        keys |= _linear(f"{name}.{end}", width, width) if linear else _conv(f"{name}.{end}", width, width, 1)
    for block in range(depth):
        prefix = f"{name}.transformer_blocks.{block}."
        for attention, source in (("attn1", width), ("attn2", context)):
            keys |= _linear(f"{prefix}{attention}.to_q", width, width, bias=False)
            keys |= _linear(f"{prefix}{attention}.to_k", source, width, bias=False)
            keys |= _linear(f"{prefix}{attention}.to_v", source, width, bias=False)
            keys |= _linear(f"{prefix}{attention}.to_out.0", width, width)
        keys |= _linear(f"{prefix}ff.net.0.proj", width, 8 * width) | _linear(f"{prefix}ff.net.2", 4 * width, width)
        keys |= _norm(f"{prefix}norm1", width) | _norm(f"{prefix}norm2", width) | _norm(f"{prefix}norm3", width)
    return keys
