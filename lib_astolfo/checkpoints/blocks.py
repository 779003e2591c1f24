"""Merge blocks: which key belongs to which of the 26 (SD1, SD2) or 20 (SDXL) values that mergers know.

``BASE`` holds the text encoders. Names and order are supermerger's, so that weight lists in the wild fit
(hako-mikan/sd-webui-supermerger, scripts/mergers/mergers.py, ``blockfromkey``); the VAE is a value of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from lib_astolfo.checkpoints import presets
from lib_astolfo.checkpoints.layout import UNET, VAE, Layout
from lib_astolfo.errors import BadInput


def _names(inputs: int) -> tuple[str, ...]:
    return ("BASE", *(f"IN{i:02}" for i in range(inputs)), "M00", *(f"OUT{i:02}" for i in range(inputs)))


#: The values of a merge in the order of a weight list, by family. The VAE is not among them: see ``VAE_BLOCK``.
BLOCKS: dict[str, tuple[str, ...]] = {
    "sd1": _names(12),
    "sd2": _names(12),
    "sdxl": _names(9),
    "sdxl_refiner": _names(12),
}
VAE_BLOCK = "VAE"
OTHER = "OTHER"

COMPONENTS = ("unet", "te1", "te2", "vae", "other")

#: Where time_embed and label_emb belong: IN00 as supermerger has it, BASE as sd-mecha has it.
TIME_EMBED = ("in00", "base")

_UNET_PART = re.compile(
    re.escape(UNET) + r"(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\.([0-9]{1,3})\."
)


def component_of(key: str) -> str:
    """``unet``, ``te1`` (the only or first text encoder), ``te2``, ``vae`` or ``other`` (markers, EMA, schedules)."""
    if key.startswith(UNET):
        return "unet"
    if key.startswith(VAE):
        return "vae"
    if key.startswith(("cond_stage_model.", "conditioner.embedders.0.")):
        return "te1"
    return "te2" if key.startswith("conditioner.embedders.1.") else "other"


def block_of(key: str, layout: Layout, *, time_embed: str = "in00") -> str:
    """The block of a key: one of ``BLOCKS[layout.family]``, ``VAE``, or ``OTHER`` for keys that no merge touches.

    ``time_embed``: ``in00`` or ``base``, the block of the time and label embeddings.
    """
    if time_embed not in TIME_EMBED:
        raise BadInput("time_embed", repr(time_embed), "in00 or base")
    component = component_of(key)
    if component in ("te1", "te2"):
        return "BASE"
    if component != "unet":
        return VAE_BLOCK if component == "vae" else OTHER
    match = _UNET_PART.match(key)
    if match is None:
        return OTHER
    part, number = match.group(1), int(match.group(2))
    if part in ("time_embed", "label_emb"):
        return time_embed.upper()
    names = BLOCKS[layout.family]
    name = {"middle_block": "M00", "out": names[-1]}.get(part)
    if name is None:
        name = f"{'IN' if part == 'input_blocks' else 'OUT'}{number:02}"
    return name if name in names else OTHER


def parse_weights(
    value: str | Sequence[float] | Mapping[str, float], layout: Layout, where: str = "blocks"
) -> dict[str, float]:
    """Block weights by name from a list, a text of numbers with commas, a preset's name, or a mapping.

    A list has 26 (SD1, SD2) or 20 (SDXL) numbers; 26 are cut to 20 for SDXL as supermerger does (IN09 to IN11 and
    OUT09 to OUT11 fall away). A mapping may name only some blocks, and ``VAE``; the others are not in the result.
    Raises BadInput for a wrong count, an unknown name, or what is not a finite number.
    """
    names = BLOCKS[layout.family]
    if isinstance(value, Mapping):
        for key in value:
            if key not in names and key != VAE_BLOCK:
                raise BadInput(f"{where}.{key}", "an unknown block", f"{VAE_BLOCK} or one of {', '.join(names)}")
        return {key: _number(weight, f"{where}.{key}") for key, weight in value.items()}
    if isinstance(value, str):
        value = _split(value, where)
    if not isinstance(value, Sequence):
        raise BadInput(where, repr(value)[:80], "a list of numbers, a text of them, a preset's name, or a mapping")
    numbers = [_number(weight, f"{where}[{index}]") for index, weight in enumerate(value)]
    if len(numbers) == 26 and len(names) == 20:
        numbers = to_xl(numbers)
    if len(numbers) != len(names):
        raise BadInput(where, f"{len(numbers)} numbers", f"{len(names)}: {', '.join(names)}")
    return dict(zip(names, numbers, strict=True))


def to_xl(weights: Sequence[float]) -> list[float]:
    """26 values of SD1 as the 20 of SDXL: IN09 to IN11 and OUT09 to OUT11 are dropped."""
    return [*weights[:10], *weights[13:23]]


def _split(text: str, where: str) -> Sequence[float]:
    parts = [part for part in re.split(r"[,\s]+", text.strip()) if part]
    if not all(re.fullmatch(r"[-+0-9.eE]+|nan|[-+]?inf", part) for part in parts):
        known = presets.load()
        if text.strip().upper() in known:
            return known[text.strip().upper()]
        raise BadInput(where, repr(text[:80]), "numbers with commas between them, or a preset: " + ", ".join(known))
    return [_number(part, where) for part in parts]


def _number(value: object, where: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise BadInput(where, repr(value)[:80], "a number") from None
    if not math.isfinite(number):
        raise BadInput(where, repr(value), "a finite number")
    return number
