"""Where every tensor of an original-layout checkpoint lives in the modules of diffusers and transformers.

Original names: generative-models ``sgm/modules/diffusionmodules/openaimodel.py`` (UNet) and ``model.py`` (VAE),
open_clip ``transformer.py``; module names: diffusers ``models/unets/unet_2d_condition.py``,
``models/autoencoders/autoencoder_kl.py``, transformers ``models/clip/modeling_clip.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lib_astolfo.errors import BadInput

from .architecture import CLIP_L, OPEN_CLIP, UNET, VAE, Architecture

RESBLOCK = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
RESBLOCK_OF_OPEN_CLIP = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}

Pairs = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Target:
    """A parameter (``component.path``) and how it is cut from the checkpoint's tensor.

    ``part``: which third of the rows (q, k, v of a fused projection), or None for all. ``transposed``: rows and columns
    change places. Otherwise the tensor is viewed in the parameter's shape (1x1 convolutions are linear layers).
    """

    path: str
    part: int | None = None
    transposed: bool = False

    def view(self, tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """The parameter's view of ``tensor``, sharing its storage. BadInput if the shapes cannot match."""
        if self.part is not None:
            third = tensor.shape[0] // 3
            tensor = tensor.narrow(0, third * self.part, third)
        if self.transposed:
            tensor = tensor.t()
        if tensor.shape == shape:
            return tensor
        if _squeezed(tensor.shape) != _squeezed(shape):
            raise BadInput(self.path, f"shape {list(tensor.shape)}", f"shape {list(shape)}")
        return tensor.view(shape)


def _squeezed(shape: torch.Size) -> list[int]:
    return [size for size in shape if size != 1]


Targets = dict[str, tuple[Target, ...]]
"""Original name -> its parameters; none for tensors that have no effect but belong to the file (logit_scale)."""


def targets(architecture: Architecture, shapes: Mapping[str, torch.Size]) -> Targets:
    """Original name -> parameters, for all parameters in ``shapes`` ("component.path" -> shape).

    Raises BadInput if a parameter would have no tensor (a configuration that this map does not know).
    """
    found: Targets = {}
    for original, module in _unet_modules(architecture.unet):
        _add_affine(found, UNET + original, "unet." + module, shapes)
    for original, module in _vae_modules(architecture.vae):
        _add_affine(found, VAE + original, "vae." + module, shapes)
    if architecture.family in CLIP_L:
        prefix = CLIP_L[architecture.family]
        for name in (name for name in shapes if name.startswith("text0.")):
            found[prefix + name.removeprefix("text0.text_model.")] = (Target(name),)
    if architecture.family in OPEN_CLIP:
        component = f"text{len(architecture.text) - 1}."
        found.update(_open_clip(OPEN_CLIP[architecture.family], component, architecture.text[-1], shapes))
    bound = {target.path for parameters in found.values() for target in parameters}
    if missing := sorted(set(shapes) - bound):
        raise BadInput(f"architecture {architecture.name}", missing[0], "only modules that the original layout has")
    return found


def _add_affine(found: Targets, original: str, module: str, shapes: Mapping[str, torch.Size]) -> None:
    for kind in ("weight", "bias"):
        if f"{module}.{kind}" in shapes:
            found[f"{original}.{kind}"] = (Target(f"{module}.{kind}"),)


def _resblock(original: str, module: str) -> Pairs:
    for old, new in RESBLOCK.items():
        yield f"{original}.{old}", f"{module}.{new}"


def _transformer(original: str, module: str, depth: int) -> Pairs:
    for name in ("norm", "proj_in", "proj_out"):
        yield f"{original}.{name}", f"{module}.{name}"
    inner = [f"{attention}.{part}" for attention in ("attn1", "attn2") for part in ("to_q", "to_k", "to_v", "to_out.0")]
    inner += ["ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3"]
    for index in range(depth):
        for name in inner:
            block = f".transformer_blocks.{index}.{name}"
            yield original + block, module + block


def _depths(config: Mapping[str, Any]) -> list[int]:
    """Transformer blocks of each level, 0 where the level has no attention."""
    depth = config.get("transformer_layers_per_block", 1)
    levels = len(config["block_out_channels"])
    each = [depth] * levels if isinstance(depth, int) else list(depth)
    return [n if "CrossAttn" in kind else 0 for n, kind in zip(each, config["down_block_types"], strict=True)]


def _mid_depth(config: Mapping[str, Any]) -> int:
    depth = config.get("transformer_layers_per_block", 1)
    return depth if isinstance(depth, int) else depth[-1]


def _unet_modules(config: Mapping[str, Any]) -> Pairs:
    yield "time_embed.0", "time_embedding.linear_1"
    yield "time_embed.2", "time_embedding.linear_2"
    yield "label_emb.0.0", "class_embedding.linear_1"
    yield "label_emb.0.2", "class_embedding.linear_2"
    yield "input_blocks.0.0", "conv_in"
    yield "out.0", "conv_norm_out"
    yield "out.2", "conv_out"
    depths, layers = _depths(config), config["layers_per_block"]
    index = 1
    for level, depth in enumerate(depths):
        for layer in range(layers):
            block = f"down_blocks.{level}"
            yield from _resblock(f"input_blocks.{index}.0", f"{block}.resnets.{layer}")
            if depth:
                yield from _transformer(f"input_blocks.{index}.1", f"{block}.attentions.{layer}", depth)
            index += 1
        if level < len(depths) - 1:
            yield f"input_blocks.{index}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
            index += 1
    yield from _resblock("middle_block.0", "mid_block.resnets.0")
    yield from _transformer("middle_block.1", "mid_block.attentions.0", _mid_depth(config))
    yield from _resblock("middle_block.2", "mid_block.resnets.1")
    yield from _unet_up(depths[::-1], layers + 1)


def _unet_up(depths: list[int], layers: int) -> Pairs:
    for level, depth in enumerate(depths):
        for layer in range(layers):
            index, block = level * layers + layer, f"up_blocks.{level}"
            yield from _resblock(f"output_blocks.{index}.0", f"{block}.resnets.{layer}")
            if depth:
                yield from _transformer(f"output_blocks.{index}.1", f"{block}.attentions.{layer}", depth)
            if layer == layers - 1 and level < len(depths) - 1:
                yield f"output_blocks.{index}.{2 if depth else 1}.conv", f"{block}.upsamplers.0.conv"


def _vae_modules(config: Mapping[str, Any]) -> Pairs:
    levels, layers = len(config["block_out_channels"]), config["layers_per_block"]
    for name in ("quant_conv", "post_quant_conv"):
        yield name, name
    for side in ("encoder", "decoder"):
        yield f"{side}.conv_in", f"{side}.conv_in"
        yield f"{side}.conv_out", f"{side}.conv_out"
        yield f"{side}.norm_out", f"{side}.conv_norm_out"
        for old, new in (("block_1", "resnets.0"), ("block_2", "resnets.1")):
            yield from _vae_resblock(f"{side}.mid.{old}", f"{side}.mid_block.{new}")
        for old, new in VAE_ATTENTION.items():
            yield f"{side}.mid.attn_1.{old}", f"{side}.mid_block.attentions.0.{new}"
    for level in range(levels):
        for layer in range(layers):
            yield from _vae_resblock(
                f"encoder.down.{level}.block.{layer}", f"encoder.down_blocks.{level}.resnets.{layer}"
            )
        yield f"encoder.down.{level}.downsample.conv", f"encoder.down_blocks.{level}.downsamplers.0.conv"
        up = levels - 1 - level
        for layer in range(layers + 1):
            yield from _vae_resblock(f"decoder.up.{level}.block.{layer}", f"decoder.up_blocks.{up}.resnets.{layer}")
        yield f"decoder.up.{level}.upsample.conv", f"decoder.up_blocks.{up}.upsamplers.0.conv"


def _vae_resblock(original: str, module: str) -> Pairs:
    for name in ("norm1", "conv1", "norm2", "conv2"):
        yield f"{original}.{name}", f"{module}.{name}"
    yield f"{original}.nin_shortcut", f"{module}.conv_shortcut"


def _open_clip(prefix: str, component: str, config: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> Targets:
    text = f"{component}text_model."
    found: Targets = {
        prefix + "positional_embedding": (Target(text + "embeddings.position_embedding.weight"),),
        prefix + "token_embedding.weight": (Target(text + "embeddings.token_embedding.weight"),),
        prefix + "logit_scale": (),
        prefix + "text_projection": (),
    }
    if f"{component}text_projection.weight" in shapes:
        found[prefix + "text_projection"] = (Target(f"{component}text_projection.weight", transposed=True),)
    _add_affine(found, prefix + "ln_final", text + "final_layer_norm", shapes)
    for index in range(config["num_hidden_layers"]):
        original, module = f"{prefix}transformer.resblocks.{index}.", f"{text}encoder.layers.{index}."
        for old, new in RESBLOCK_OF_OPEN_CLIP.items():
            _add_affine(found, original + old, module + new, shapes)
        for kind in ("weight", "bias"):
            found[f"{original}attn.in_proj_{kind}"] = tuple(
                Target(f"{module}self_attn.{name}_proj.{kind}", part) for part, name in enumerate("qkv")
            )
    return found
