"""Part and block of a LoRA module by its name alone, where no checkpoint is at hand.

Right for the published models, which have three blocks a level (two on the way down and a downsampling).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lib_astolfo.checkpoints.blocks import BLOCKS

_BLOCKS: tuple[tuple[str, str, int, int], ...] = (
    # pattern, beginning of the block's name, first number, whether the level counts three
    (r"input_blocks_([0-9]+)_", "IN", 0, 0),
    (r"output_blocks_([0-9]+)_", "OUT", 0, 0),
    (r"down_blocks_([0-9]+)_(?:resnets|attentions)_([0-9]+)_", "IN", 1, 3),
    (r"down_blocks_([0-9]+)_downsamplers_", "IN", 3, 3),
    (r"up_blocks_([0-9]+)_(?:resnets|attentions)_([0-9]+)_", "OUT", 0, 3),
    (r"up_blocks_([0-9]+)_upsamplers_", "OUT", 2, 3),
)
_FIRST = re.compile(r"(^|_)(conv_in|time_embed|time_embedding|label_emb|add_embedding)(_|$)")


def component(name: str) -> str:
    """``unet``, ``te1`` or ``te2``."""
    name = name.replace(".", "_")
    if re.match(r"(lora|lycoris)_te2_|text_encoder_2_", name):
        return "te2"
    return "te1" if re.match(r"(lora|lycoris)_te1?_|text_encoder_", name) else "unet"


def block(name: str, xl: bool) -> str:
    """The merge block. ``xl``: of an SDXL file."""
    name = name.replace(".", "_")
    if component(name) != "unet":
        return "BASE"
    for pattern, start, first, times in _BLOCKS:
        match = re.search(pattern, name)
        if match is not None:
            numbers = [int(number) for number in match.groups()]
            return f"{start}{first + numbers[0] * (times or 1) + sum(numbers[1:]):02}"
    if "mid_block" in name or "middle_block" in name:
        return "M00"
    return "IN00" if _FIRST.search(name) else BLOCKS["sdxl" if xl else "sd1"][-1]


def is_xl(names: Iterable[str]) -> bool:
    """Whether the modules are SDXL's: a second text encoder, or more than one transformer block at a place."""
    return any(component(name) == "te2" or re.search(r"transformer_blocks[._][1-9]", name) for name in names)


def style(name: str) -> str:
    """``original`` or ``diffusers`` names of the UNet; "" where both are alike."""
    if re.search(r"(input|output|middle)_block", name):
        return "original"
    return "diffusers" if re.search(r"(down_blocks|up_blocks|mid_block)[._]", name) else ""
