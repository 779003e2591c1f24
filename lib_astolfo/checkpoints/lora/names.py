"""Which tensor of a checkpoint a LoRA's module name means, by rule from the checkpoint's own key list.

The same module has several names: kohya's ``lora_unet_`` with the names of diffusers (SD1, SD2) or of the original code
(SDXL), ``lora_te_``, ``lora_te1_`` and ``lora_te2_`` with the names of transformers, LyCORIS', and the dotted ones of
diffusers and PEFT. All are compared with ``_`` in place of dots.

OpenCLIP's text encoders (SD2, SDXL's second) hold the projections of an attention in one tensor ``in_proj``, of which
q, k and v are a third each, and keep ``text_projection`` transposed (transformers, convert_open_clip; A1111
extensions-builtin/Lora/networks.py, ``convert_diffusers_name_to_compvis`` and ``network_apply_weights``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lib_astolfo.checkpoints.layout import UNET, Layout

Shapes = Mapping[str, Sequence[int]]

_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_TOP = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_OPEN_CLIP_LAYER = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OPEN_CLIP = {
    "token_embedding": "text_model.embeddings.token_embedding",
    "positional_embedding": "text_model.embeddings.position_embedding",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection",
}
#: Beginnings of the names of a part, dots replaced; the empty one for the bare names of diffusers.
_UNET_STARTS = ("lora_unet_", "lycoris_unet_", "lycoris_", "unet_", "model_diffusion_model_", "diffusion_model_", "")
_TE_STARTS = {
    "te": ("lora_te_", "lora_te1_", "text_encoder_", "text_encoder_1_", "lycoris_te_", "lycoris_te1_"),
    "te1": ("lora_te1_", "lora_te_", "text_encoder_", "text_encoder_1_", "lycoris_te1_", "lycoris_te_"),
    "te2": ("lora_te2_", "text_encoder_2_", "lycoris_te2_"),
    "refiner": ("lora_te_", "lora_te1_", "lora_te2_", "text_encoder_", "text_encoder_2_"),
}


@dataclass(frozen=True)
class Target:
    """What a module is in the checkpoint.

    Attributes:
        weight: key of its weight.
        bias: key of its bias, or "".
        third: 0, 1 or 2 for q, k and v of a fused attention: that third of the rows; None for the whole tensor.
        transposed: the checkpoint's tensor is the module's weight transposed.
        name: how kohya's trainer names it for this layout; what extraction writes.
    """

    weight: str
    bias: str = ""
    third: int | None = None
    transposed: bool = False
    name: str = ""

    def shape(self, stored: Sequence[int]) -> tuple[int, ...]:
        """Shape of the module's weight, given that of the checkpoint's tensor."""
        if self.transposed:
            return tuple(reversed(stored))
        return (stored[0] // 3, *stored[1:]) if self.third is not None else tuple(stored)


def targets(shapes: Shapes, layout: Layout) -> dict[str, Target]:
    """Every name that a LoRA for this checkpoint may use, with ``_`` for dots, to what it means."""
    found: dict[str, Target] = {}
    for starts, names, target in _modules(shapes, layout):
        for start in starts:
            for name in names:
                found.setdefault(start + name.replace(".", "_"), target)
    return found


def modules(shapes: Shapes, layout: Layout) -> list[Target]:
    """Every module of the UNet and the text encoders that has a weight, in the order of the key list."""
    return [target for _, _, target in _modules(shapes, layout)]


def _modules(shapes: Shapes, layout: Layout) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Target]]:
    """(beginnings, names behind them, target) of every module."""
    diffusers = _diffusers_names(shapes)
    for key in shapes:
        if key.startswith(UNET) and key.endswith(".weight"):
            own = key[len(UNET) : -len(".weight")]
            names = tuple(dict.fromkeys((own, *([diffusers[own]] if own in diffusers else []))))
            # A1111 knows SD1's modules by the names of diffusers, but for the last norm
            chosen = names[0] if layout.is_xl or own == "out.0" else names[-1]
            target = Target(key, _bias(key, shapes), name="lora_unet_" + chosen.replace(".", "_"))
            yield _UNET_STARTS, names, target
    for prefix, encoder, kind in _encoders(layout):
        for key in shapes:
            if key.startswith(prefix):
                modules = _open_clip if kind == "open_clip" else _transformers
                for name, target in modules(key, prefix, shapes):
                    start = _TE_STARTS[encoder][0]
                    yield _TE_STARTS[encoder], (name,), replace(target, name=start + name.replace(".", "_"))


def _encoders(layout: Layout) -> tuple[tuple[str, str, str], ...]:
    """(prefix, which beginnings, whose code) of the text encoders."""
    first, second = "conditioner.embedders.0.", "conditioner.embedders.1."
    return {
        "sd1": (("cond_stage_model.transformer.", "te", "transformers"),),
        "sd2": (("cond_stage_model.model.", "te", "open_clip"),),
        "sdxl": ((f"{first}transformer.", "te1", "transformers"), (f"{second}model.", "te2", "open_clip")),
        "sdxl_refiner": ((f"{first}model.", "refiner", "open_clip"),),
    }[layout.family]


def _bias(key: str, shapes: Shapes) -> str:
    bias = key[: -len("weight")] + "bias"
    return bias if bias in shapes else ""


def _transformers(key: str, prefix: str, shapes: Shapes) -> Iterator[tuple[str, Target]]:
    """Old files of SD1 leave ``text_model.`` out."""
    if key.endswith(".weight"):
        name = "text_model." + key[len(prefix) : -len(".weight")].removeprefix("text_model.")
        yield name, Target(key, _bias(key, shapes))


def _open_clip(key: str, prefix: str, shapes: Shapes) -> Iterator[tuple[str, Target]]:
    own = key[len(prefix) :]
    layer = re.fullmatch(r"transformer\.resblocks\.([0-9]+)\.(.+)", own)
    if layer is None:
        name = _OPEN_CLIP.get(own.removesuffix(".weight"))
        if name is not None and not own.endswith(".bias"):
            bias = _bias(key, shapes) if own.endswith(".weight") else ""
            yield name, Target(key, bias, transposed=own == "text_projection")
        return
    start = f"text_model.encoder.layers.{layer.group(1)}."
    if layer.group(2) == "attn.in_proj_weight":
        bias = key[: -len("weight")] + "bias"
        for third, letter in enumerate("qkv"):
            yield f"{start}self_attn.{letter}_proj", Target(key, bias if bias in shapes else "", third)
    elif key.endswith(".weight") and layer.group(2)[: -len(".weight")] in _OPEN_CLIP_LAYER:
        yield start + _OPEN_CLIP_LAYER[layer.group(2)[: -len(".weight")]], Target(key, _bias(key, shapes))


def _diffusers_names(shapes: Shapes) -> dict[str, str]:
    """Names of the UNet's modules in the original code to those in diffusers.

    Levels are counted by walking through the blocks: a level ends with a downsampling on the way down and with an
    upsampling on the way up, whatever their numbers of residual blocks.
    """
    own = [key[len(UNET) : -len(".weight")] for key in shapes if key.startswith(UNET) and key.endswith(".weight")]
    blocks: dict[tuple[str, int], list[str]] = {}
    found = {name: _TOP[name] for name in own if name in _TOP}
    for name in own:
        match = re.match(r"(input_blocks|middle_block|output_blocks)\.([0-9]{1,3})\.", name)
        if match is not None and name not in found:
            blocks.setdefault((match.group(1), int(match.group(2))), []).append(name)
    level = number = 0
    previous = ""
    for part, index in sorted(blocks):  # input, middle, output: their order in the alphabet too
        if part != previous:
            level = number = 0
        names, previous = blocks[part, index], part
        ends = False
        for name in names:
            rest = name.split(".", 2)[2]
            if part == "middle_block":
                found[name] = _in_block("mid_block", index // 2, rest, attention=index % 2 == 1)
                continue
            place = f"{'down' if part == 'input_blocks' else 'up'}_blocks.{level}"
            sub, _, inner = rest.partition(".")
            if inner == "op" or (inner == "conv" and sub in "12"):
                found[name] = f"{place}.{'downsamplers' if inner == 'op' else 'upsamplers'}.0.conv"
                ends = True
            else:
                found[name] = _in_block(place, number, inner, attention=sub == "1")
        level, number = (level + 1, 0) if ends else (level, number + 1)
    return found


def _in_block(place: str, number: int, inner: str, *, attention: bool) -> str:
    kind = "attentions" if attention else "resnets"
    return f"{place}.{kind}.{number}.{inner if attention else _RESIDUAL.get(inner, inner)}"
