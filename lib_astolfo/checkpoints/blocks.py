"""Merge blocks: which key belongs to which of the 26 (SD1, SD2) or 20 (SDXL) values that mergers know.

``BASE`` holds the text encoders. Names and order are supermerger's, so that weight lists in the wild fit
(hako-mikan/sd-webui-supermerger, scripts/mergers/mergers.py, ``blockfromkey``); the VAE is a value of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from lib_astolfo.checkpoints import extended, presets
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


def parts_of(key: str, layout: Layout, *, time_embed: str = "in00") -> tuple[str, ...]:
    """The names under which a ratio for a key may be given, the most precise first, its block last.

    Inside a block ``IN04.1`` is its second module and ``IN04.1.0`` that module's first transformer block. ``TIME`` and
    ``LABEL`` are the embeddings, ``OUT`` is the last norm and convolution, ``CLIPL`` and ``CLIPG`` are the encoders.
    """
    block = block_of(key, layout, time_embed=time_embed)
    if block == "BASE" and component_of(key) != "unet":
        encoder = _ENCODERS.get((layout.family, component_of(key)))
        return (encoder, block) if encoder else (block,)
    if not key.startswith(UNET) or block == OTHER:
        return (block,)
    words = key[len(UNET) :].split(".")
    if words[0] in _EMBEDDINGS:
        return (_EMBEDDINGS[words[0]], block)
    at = 1 if words[0] == "middle_block" else 2
    module = f"{block}.{words[at]}"
    if len(words) > at + 2 and words[at + 1] == "transformer_blocks":
        return (f"{module}.{words[at + 2]}", module, block)
    return (module, block)


_ENCODERS = {
    ("sd1", "te1"): "CLIPL",
    ("sdxl", "te1"): "CLIPL",
    ("sdxl", "te2"): "CLIPG",
    ("sdxl_refiner", "te1"): "CLIPG",
}
_EMBEDDINGS = {"time_embed": "TIME", "label_emb": "LABEL", "out": "OUT"}
_PART = re.compile(r"(IN[0-9]{2}|M00|OUT[0-9]{2})(\.[0-9]{1,2}){1,2}|TIME|LABEL|OUT|CLIPL|CLIPG")


def block_of_part(name: str) -> str | None:
    """The block that a precise name is a part of (``BASE``, ``IN00`` and ``OUT`` for those of their own), else None."""
    if not _PART.fullmatch(name):
        return None
    return {"TIME": "IN00", "LABEL": "IN00", "CLIPL": "BASE", "CLIPG": "BASE"}.get(name, name.split(".")[0])


def expand(name: str, layout: Layout, where: str = "blocks") -> tuple[str, ...]:
    """The blocks of a name or of a range as ``IN03-OUT05``, from either end, in the order of the layout's weight list.

    Raises BadInput for a name that the layout does not have.
    """
    names = BLOCKS[layout.family]
    first, _, last = name.partition("-")
    for end in (first, last or first):
        if end not in names:
            expected = f"{VAE_BLOCK}, a part as IN04.1.0, or one of {', '.join(names)}"
            raise BadInput(f"{where}.{name}", f"a block that {layout.family} does not have", expected)
    low, high = sorted((names.index(first), names.index(last or first)))
    return names[low : high + 1]


def has_part(name: str, layout: Layout) -> bool:
    """Whether a precise name may be one of this layout's."""
    block = block_of_part(name)
    if block is None or (name == "LABEL" and not layout.is_xl):
        return False
    if block == "BASE":
        return name in {encoder for (family, _), encoder in _ENCODERS.items() if family == layout.family}
    return block == "OUT" or block in BLOCKS[layout.family]


def parse_weights(
    value: str | Sequence[float] | Mapping[str, float], layout: Layout, where: str = "blocks"
) -> dict[str, float]:
    """Block weights by name from a list, a text of numbers with commas, a preset's name, or a mapping.

    A list has 26 (SD1, SD2) or 20 (SDXL) numbers, or one more for the VAE at its end, or supermerger's 110 of SDXL
    (``extended``); 26 are cut to 20 for SDXL as supermerger does (IN09 to IN11 and OUT09 to OUT11 fall away). A mapping
    may name only some blocks, and ``VAE``; the others are not in the result.
    Raises BadInput for a wrong count, an unknown name, or what is not a finite number.
    """
    names = BLOCKS[layout.family]
    if isinstance(value, Mapping):
        for key in value:
            if key not in names and key != VAE_BLOCK:
                raise BadInput(f"{where}.{key}", "an unknown block", f"{VAE_BLOCK} or one of {', '.join(names)}")
        return {key: finite(weight, f"{where}.{key}") for key, weight in value.items()}
    if isinstance(value, str):
        value = split(value, where)
    if not isinstance(value, Sequence):
        raise BadInput(where, repr(value)[:80], "a list of numbers, a text of them, a preset's name, or a mapping")
    numbers = [finite(weight, f"{where}[{index}]") for index, weight in enumerate(value)]
    if len(numbers) == len(extended.NAMES) and layout.family == "sdxl":
        return extended.weights(numbers)
    if len(names) == 20 and len(numbers) in (26, 27):
        numbers = to_xl(numbers)
    if len(numbers) not in (len(names), len(names) + 1):
        more = f", or supermerger's {len(extended.NAMES)}" if layout.family == "sdxl" else ""
        expected = f"{len(names)}: {', '.join(names)}; or one more for the VAE{more}"
        raise BadInput(where, f"{len(numbers)} numbers", expected)
    return dict(zip((*names, VAE_BLOCK), numbers, strict=False))


def to_xl(weights: Sequence[float]) -> list[float]:
    """26 values of SD1 as the 20 of SDXL: IN09 to IN11 and OUT09 to OUT11 are dropped; a 27th, the VAE's, stays."""
    return [*weights[:10], *weights[13:23], *weights[26:]]


def split(text: str, where: str) -> Sequence[float]:
    """The numbers in a text, or those of the preset that it names. Errors: BadInput."""
    parts = [part for part in re.split(r"[,\s]+", text.strip()) if part]
    if not all(re.fullmatch(r"[-+0-9.eE]+|nan|[-+]?inf", part) for part in parts):
        found = presets.find(text)
        if found is not None:
            return found
        known = ", ".join(presets.load())
        raise BadInput(where, repr(text[:80]), f"numbers with commas between them, or a preset: {known}")
    return [finite(part, where) for part in parts]


def finite(value: object, where: str) -> float:
    """A finite number. Errors: BadInput."""
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise BadInput(where, repr(value)[:80], "a number") from None
    if not math.isfinite(number):
        raise BadInput(where, repr(value), "a finite number")
    return number
