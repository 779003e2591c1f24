"""The tensors that a checkpoint of a layout has, all of them, by rule; so that one that is missing can be named.

Names: generative-models, ``sgm/modules/diffusionmodules/openaimodel.py`` (UNet) and ``model.py`` (VAE); transformers,
``models/clip/modeling_clip.py``; open_clip, ``transformer.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from lib_astolfo.checkpoints.layout import FIRST, UNET, VAE, Layout, VaeShape, detect
from lib_astolfo.checkpoints.parts import PREFIXES, TEXT
from lib_astolfo.errors import BadInput

Shapes = Mapping[str, Sequence[int]]

#: What may be missing: buffers that every host makes itself, and what no host uses. SD2 reads its text encoder before
#: the last layer, and files that were in the diffusers layout once do not have what comes after.
_OPTIONAL = re.compile(
    r".*(position_ids|logit_scale|attn_mask)$|cond_stage_model\.model\.(text_projection$|transformer\.resblocks\.23\.)"
)

#: Width of a published text encoder to its number of layers.
_LAYERS = {768: 12, 1024: 24, 1280: 32}
_RESIDUAL = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3")
_ATTENTION = tuple(f"attn{i}.{part}" for i, part in product((1, 2), ("to_q", "to_k", "to_v")))
_AFFINE = (*(f"attn{i}.to_out.0" for i in (1, 2)), "ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3")


def expected(layout: Layout, shapes: Shapes) -> dict[str, tuple[str, ...]]:
    """``unet``, ``vae`` and the text encoders of the family (``clip_l``, ``clip_g``, ``clip_h``) to the names of all
    their tensors. ``shapes``: those of the file; they tell how many layers a small text encoder has."""
    found = {"unet": tuple(UNET + name for name in unet(layout)), "vae": tuple(VAE + name for name in vae(layout.vae))}
    for part, prefix in PREFIXES[layout.family].items():
        if part in TEXT:
            make = _clip if part == "clip_l" else _open_clip
            found[part] = tuple(prefix + name for name in make(_layers(shapes, prefix)))
    return found


def needed(names: Iterable[str]) -> list[str]:
    """Those of these tensors without which something else is drawn."""
    return [name for name in names if not _OPTIONAL.match(name)]


def lenient(shapes: Shapes, where: str) -> tuple[Layout, tuple[str, ...]]:
    """The layout, and the prefixes of the text encoders that a file lacks. BadInput where there is no whole UNet."""
    try:
        return detect(shapes, where), ()
    except BadInput:
        if FIRST not in shapes:
            raise
        wanted = [prefix for part, prefix in PREFIXES[_family(shapes)].items() if part in TEXT]
        missing = tuple(prefix for prefix in wanted if not any(name.startswith(prefix) for name in shapes))
        if not missing:
            raise
        return detect({**shapes, **{prefix + "?": () for prefix in missing}}, where), missing


def _family(shapes: Shapes) -> str:
    """The family of a UNet whose text encoders are missing, in whole or in part."""
    if f"{UNET}label_emb.0.0.weight" in shapes:
        return "sdxl_refiner" if f"{UNET}input_blocks.9.0.op.weight" in shapes else "sdxl"
    widths = [shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight") and len(shape) == 2]
    return "sd2" if 1024 in widths else "sd1"


def unet(layout: Layout) -> Iterator[str]:
    """Names of the UNet's tensors without prefix."""
    yield from _affine("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2")
    if layout.is_xl:
        yield from _affine("label_emb.0.0", "label_emb.0.2")
    width, number, skips = 1, 0, [1]  # widths in units of the first
    for level, (factor, depth) in enumerate(zip(layout.channel_mult, layout.depths, strict=True)):
        for _ in range(layout.res_blocks):
            number += 1
            yield from _residual(f"input_blocks.{number}.0", width != factor)
            yield from _transformer(f"input_blocks.{number}.1", depth)
            width = factor
            skips.append(width)
        if level < len(layout.channel_mult) - 1:
            number += 1
            yield from _affine(f"input_blocks.{number}.0.op")
            skips.append(width)
    yield from _residual("middle_block.0", False)
    yield from _transformer("middle_block.1", next((depth for depth in reversed(layout.depths) if depth), 0))
    yield from _residual("middle_block.2", False)
    yield from _up(layout, width, skips)


def _up(layout: Layout, width: int, skips: list[int]) -> Iterator[str]:
    number = 0
    for level in reversed(range(len(layout.channel_mult))):
        factor, depth = layout.channel_mult[level], layout.depths[level]
        for turn in range(layout.res_blocks + 1):
            yield from _residual(f"output_blocks.{number}.0", width + skips.pop() != factor)
            yield from _transformer(f"output_blocks.{number}.1", depth)
            if level and turn == layout.res_blocks:
                yield from _affine(f"output_blocks.{number}.{2 if depth else 1}.conv")
            width = factor
            number += 1


def vae(shape: VaeShape) -> Iterator[str]:
    """Names of the VAE's tensors without prefix."""
    yield from _affine("quant_conv", "post_quant_conv")
    for side in ("encoder", "decoder"):
        yield from _affine(f"{side}.conv_in", f"{side}.norm_out", f"{side}.conv_out")
        for block in ("block_1", "block_2"):
            yield from _vae_residual(f"{side}.mid.{block}", False)
        yield from _affine(*(f"{side}.mid.attn_1.{part}" for part in ("norm", "q", "k", "v", "proj_out")))
    levels = len(shape.channel_mult)
    width = 1
    for level, factor in enumerate(shape.channel_mult):
        for turn in range(shape.res_blocks):
            yield from _vae_residual(f"encoder.down.{level}.block.{turn}", width != factor)
            width = factor
        if level < levels - 1:
            yield from _affine(f"encoder.down.{level}.downsample.conv")
    width = shape.channel_mult[-1]
    for level in reversed(range(levels)):
        for turn in range(shape.res_blocks + 1):
            yield from _vae_residual(f"decoder.up.{level}.block.{turn}", width != shape.channel_mult[level])
            width = shape.channel_mult[level]
        if level:
            yield from _affine(f"decoder.up.{level}.upsample.conv")


def _affine(*names: str) -> Iterator[str]:
    return (f"{name}.{kind}" for name in names for kind in ("weight", "bias"))


def _residual(name: str, skip: bool) -> Iterator[str]:
    return _affine(*(f"{name}.{part}" for part in (*_RESIDUAL, *(("skip_connection",) if skip else ()))))


def _vae_residual(name: str, skip: bool) -> Iterator[str]:
    inner = ("norm1", "conv1", "norm2", "conv2", *(("nin_shortcut",) if skip else ()))
    return _affine(*(f"{name}.{part}" for part in inner))


def _transformer(name: str, depth: int) -> Iterator[str]:
    if depth:
        yield from _affine(f"{name}.norm", f"{name}.proj_in", f"{name}.proj_out")
    for block in range(depth):
        prefix = f"{name}.transformer_blocks.{block}."
        yield from (f"{prefix}{part}.weight" for part in _ATTENTION)
        yield from _affine(*(prefix + part for part in _AFFINE))


def _layers(shapes: Shapes, prefix: str) -> int:
    """Layers of a text encoder: as many as the file has, those of the published one where the width is its own."""
    pattern = re.compile(re.escape(prefix) + r"(?:.*\.)?(?:layers|resblocks)\.(\d+)\.")
    matches = [match for name in shapes if name.startswith(prefix) and (match := pattern.match(name))]
    norm = ("ln_final.weight", "final_layer_norm.weight", "ln_1.weight", "layer_norm1.weight")
    widths = {shape[0] for name, shape in shapes.items() if name.startswith(prefix) and name.endswith(norm) and shape}
    found = max((int(match.group(1)) + 1 for match in matches), default=0)
    return max(found, *(_LAYERS.get(width, 0) for width in widths), 0)


def _clip(layers: int) -> Iterator[str]:
    yield "text_model.embeddings.position_ids"
    yield "text_model.embeddings.position_embedding.weight"
    yield "text_model.embeddings.token_embedding.weight"
    yield from _affine("text_model.final_layer_norm")
    inner = ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2")
    attention = tuple(f"self_attn.{part}_proj" for part in ("q", "k", "v", "out"))
    for layer in range(layers):
        yield from _affine(*(f"text_model.encoder.layers.{layer}.{part}" for part in (*inner, *attention)))


def _open_clip(layers: int) -> Iterator[str]:
    yield from ("positional_embedding", "text_projection", "logit_scale", "token_embedding.weight")
    yield from _affine("ln_final")
    for layer in range(layers):
        prefix = f"transformer.resblocks.{layer}."
        yield from (f"{prefix}attn.in_proj_weight", f"{prefix}attn.in_proj_bias")
        yield from _affine(*(prefix + part for part in ("attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")))
