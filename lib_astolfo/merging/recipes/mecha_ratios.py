"""Ratios of sd-mecha's ``dict`` lines: per block, per class of layers, per part of the model."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lib_astolfo.checkpoints.blocks import BLOCKS, VAE_BLOCK
from lib_astolfo.errors import BadInput

from . import spread
from .mecha_text import CALL, NEW
from .reading import Notes, listed
from .spread import Spread

_L = {
    "pos_embed": ".embeddings.position_embedding.",
    "token_embed": ".embeddings.token_embedding.",
    "final_norm": ".final_layer_norm.",
    "layer_norm1": ".layer_norm1.",
    "layer_norm2": ".layer_norm2.",
    "mlp_fc1": ".mlp.fc1.",
    "mlp_fc2": ".mlp.fc2.",
    **{name: f".self_attn.{name}_proj." for name in ("q", "k", "v", "out")},
}
_G = {
    **{name: f"1.model.{name}." for name in ("ln_final", "logit_scale", "positional_embedding", "text_projection")},
    "token_embedding": "1.model.token_embedding.",
    "attn_in_proj": "attn.in_proj_",
    "attn_out_proj": "attn.out_proj.",
    "ln_1": "ln_1.",
    "ln_2": "ln_2.",
    "mlp_c_fc": "mlp.c_fc.",
    "mlp_c_proj": "mlp.c_proj.",
}
_UNET = {
    "in0": "model.diffusion_model.input_blocks.0.0.",
    "op": ".op.",
    "proj_in": ".proj_in.",
    "proj_out": ".proj_out.",
    **{f"trans_attn{i}_{p}": f".attn{i}.to_{p}." for i in (1, 2) for p in ("q", "k", "v", "out")},
    **{f"trans_norm{i}": f".norm{i}." for i in (1, 2, 3)},
    "trans_ff_net0_proj": ".ff.net.0.proj.",
    "trans_ff_net2": ".ff.net.2.",
    "emb_layers1": ".emb_layers.1.",
    "in_layers0": ".in_layers.0.",
    "in_layers2": ".in_layers.2.",
    "out_layers0": ".out_layers.0.",
    "out_layers3": ".out_layers.3.",
    "norm": ".norm.",
    "skip_connection": ".skip_connection.",
    "conv": ".conv.",
    "out0": ".out.0.",
    "out2": ".out.2.",
}
#: Class of layers to the text in a key that it stands for (0d1b193, sd_mecha/hypers/sdxl.py and sd15.py).
CLASSES: dict[str, str] = {
    **{f"l14_txt_class_{name}": text for name, text in _L.items()},
    **{f"g14_txt_class_{name}": text for name, text in _G.items()},
    **{f"{family}_unet_class_{name}": text for family in ("sd15", "sdxl") for name, text in _UNET.items()},
}
_BLOCK = re.compile(r"(?:sd1|sd15|sdxl)_unet_block_(in|mid|out)0*(\d*)$")
_DEFAULT = re.compile(r"(?:sd1|sdxl)_(unet|txt|txt2)_default$")


def translate(values: Mapping[str, float], dialect: str, where: str, notes: Notes) -> Spread:
    """The ratios of a ``dict`` line. Errors: BadInput naming what is not known."""
    if set(values) == {"*"}:
        return spread.everywhere(values["*"], vae=dialect == NEW)
    if dialect == CALL:
        return _classes(values, where)
    return _supermerger_blocks(values, where) if dialect == NEW else _old_blocks(values, where, notes)


def _classes(values: Mapping[str, float], where: str) -> Spread:
    """Keys that hold a class's text have its ratio, all others the last default (0d1b193, hypers ``get_hyper``).

    Of a key that fits several classes sd-mecha took the mean; with one ratio beside the default that is the ratio,
    because the classes of UNet and text encoders have no key in common. VAE and embeddings are not merged.
    """
    ratio = next((value for name, value in reversed(tuple(values.items())) if name.endswith("_default")), 0.0)
    texts: list[str] = []
    others = {value for name, value in values.items() if not name.endswith("_default") and value != ratio}
    if len(others) > 1:
        raise BadInput(where, f"classes with the ratios {listed(map(str, sorted(others)))}", "one beside the default")
    for name, value in values.items():
        if name.endswith("_default"):
            continue
        block = _block_name(name)
        if name not in CLASSES and block is None:
            raise BadInput(where, f"the class {name}", "a class or block of sd-mecha of February 2024")
        if value != ratio:
            texts.append(CLASSES[name] if block is None else _block_text(block))
    patterns = {"|".join(map(re.escape, texts)): others.pop()} if texts else {}
    return Spread(ratio, patterns={**patterns, spread.EMBEDDINGS: 0.0})


def _block_text(block: str) -> str:
    if block == "M00":
        return "model.diffusion_model.middle_block."
    side = "input" if block.startswith("IN") else "output"
    return f"model.diffusion_model.{side}_blocks.{int(block[-2:])}."


def _supermerger_blocks(values: Mapping[str, float], where: str) -> Spread:
    """Blocks of the configs sd1- and sdxl-supermerger_blocks; the embeddings belong to BASE there."""
    known = (*BLOCKS["sd1"], VAE_BLOCK)
    for name in values:
        if name not in known:
            raise BadInput(where, f"the block {name}", f"one of {listed(known)}")
    return Spread(blocks=dict(values), base_embeddings=True)


def _old_blocks(values: Mapping[str, float], where: str, notes: Notes) -> Spread:
    """Blocks and defaults per part (bdb671d, hypers.py ``get_hyper``): what is not named is 0. No VAE."""
    ratio = 0.0
    blocks: dict[str, float] = {}
    for name, value in values.items():
        default, block = _DEFAULT.match(name), _block_name(name)
        if default is not None and default.group(1) == "unet":
            ratio = value
        elif default is not None:
            blocks["BASE" if name.startswith("sd1_") else spread.PARTS[default.group(1)][0]] = value
        elif block is not None:
            blocks[block] = value
            notes.add("the time embedding follows IN00 here; sd-mecha 0.0 took it with the first block that names it")
        else:
            raise BadInput(
                where, f"the block {name}", "a block or default of sd-mecha 0.0, such as sdxl_unet_block_in0"
            )
    texts = ("BASE",) if any(name.startswith("sd1_") for name in values) else ("CLIPL", "CLIPG")
    return Spread(ratio, {**(dict.fromkeys(texts, 0.0) if ratio else {}), **blocks})


def _block_name(name: str) -> str | None:
    match = _BLOCK.match(name)
    if match is None:
        return None
    kind, number = match.groups()
    return "M00" if kind == "mid" else f"{kind.upper()}{int(number or 0):02}"
