"""How a recipe uses a LoRA: which file, how strongly, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_astolfo.checkpoints.blocks import BLOCKS, VAE_BLOCK, parse_weights
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.errors import BadInput

BLOCK_NAMES = BLOCKS["sd1"]
#: The lists of sd-webui-lora-block-weight for files without convolutions, by length: the blocks that they name. Blocks
#: that such a list does not name get 0, as that program has it (scripts/lora_block_weight.py, ``to26``).
SHORT_LISTS: dict[int, tuple[str, ...]] = {
    17: ("BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00", *(f"OUT{i:02}" for i in range(3, 12))),
    12: ("BASE", "IN04", "IN05", "IN07", "IN08", "M00", *(f"OUT{i:02}" for i in range(6))),
}
_KEYS = ("file", "weight", "te_weight", "blocks", "rs_lora")


@dataclass(frozen=True)
class LoraUse:
    """One LoRA in a recipe.

    Attributes:
        file: its name.
        weight: what the change of the UNet is multiplied with.
        te_weight: the same for the text encoders; None: as ``weight``.
        blocks: factors on top of these, per merge block; blocks that are not named have 1. ``BASE`` is the text
            encoders.
        rs_lora: scale by alpha / sqrt(rank) in place of alpha / rank (Kalajdzievski 2023, arXiv:2312.03732), for files
            whose ``alpha`` does not hold that already (LyCORIS writes it so that alpha / rank is right).
    """

    file: str
    weight: float = 1.0
    te_weight: float | None = None
    blocks: Mapping[str, float] | None = None
    rs_lora: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.file, str) or not self.file.strip():
            raise BadInput("file", repr(self.file), "the name of a LoRA file")
        _check_number("weight", self.weight)
        if self.te_weight is not None:
            _check_number("te_weight", self.te_weight)
        for name, value in (self.blocks or {}).items():
            if name not in BLOCK_NAMES:
                expected = "none: a LoRA does not reach the VAE" if name == VAE_BLOCK else ", ".join(BLOCK_NAMES)
                raise BadInput(f"blocks.{name}", "an unknown block", expected)
            _check_number(f"blocks.{name}", value)
        if not isinstance(self.rs_lora, bool):
            raise BadInput("rs_lora", repr(self.rs_lora), "true or false")

    def strength(self, component: str, block: str) -> float:
        """What the change is multiplied with in a part of the model: ``unet``, ``te1`` or ``te2``, and its block."""
        weight = self.weight if component == "unet" or self.te_weight is None else self.te_weight
        return float(weight) * float((self.blocks or {}).get(block, 1.0))

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what stands at its default is left out."""
        data: dict[str, Any] = {"file": self.file, "weight": self.weight}
        if self.te_weight is not None:
            data["te_weight"] = self.te_weight
        if self.blocks is not None:
            data["blocks"] = dict(self.blocks)
        if self.rs_lora:
            data["rs_lora"] = True
        return data

    def describe(self) -> str:
        """A few words, as ``style.safetensors:0.8``, with the text encoders' weight behind it if it is another."""
        te = "" if self.te_weight is None else f":{self.te_weight:g}"
        return f"{self.file}:{self.weight:g}{te}{' by block' if self.blocks else ''}"


def read_uses(value: object, where: str = "loras") -> tuple[LoraUse, ...]:
    """LoRAs from a list of mappings or names; BadInput names the entry and the key."""
    if value is None:
        return ()
    if isinstance(value, str | Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        raise BadInput(where, repr(value)[:80], "a list of mappings such as {file: style.safetensors, weight: 0.8}")
    return tuple(_read(entry, f"{where}[{index}]") for index, entry in enumerate(value))


def _read(entry: object, where: str) -> LoraUse:
    if isinstance(entry, LoraUse):
        return entry
    if isinstance(entry, str):
        entry = {"file": entry}
    if not isinstance(entry, Mapping):
        raise BadInput(where, repr(entry)[:80], "a mapping such as {file: style.safetensors, weight: 0.8}")
    for key in entry:
        if key not in _KEYS:
            raise BadInput(f"{where}.{key}", entry[key], f"one of {', '.join(_KEYS)}")
    values = {key: value for key, value in entry.items() if value is not None}
    if "blocks" in values:
        values["blocks"] = read_factors(values["blocks"], f"{where}.blocks")
    try:
        return LoraUse(**{"file": "", **values})
    except BadInput as error:
        raise BadInput(f"{where}.{error.where}", error.found, error.expected) from None


def read_factors(value: object, where: str = "blocks") -> dict[str, float]:
    """Factors per block from a mapping, a preset's name, or 26 (SD1), 20 (SDXL), 17 or 12 numbers.

    The lists of 17 (SD1) and 12 (SDXL) are those of sd-webui-lora-block-weight.
    """
    if isinstance(value, Mapping):
        return {str(name).upper(): number for name, number in value.items()}
    if not isinstance(value, str | list | tuple):
        raise BadInput(where, repr(value)[:80], "a mapping of blocks, a list of numbers, or a preset's name")
    numbers: Sequence[Any] = value.replace(",", " ").split() if isinstance(value, str) else value
    if len(numbers) in SHORT_LISTS:
        names = SHORT_LISTS[len(numbers)]
        family = "sd1" if len(numbers) == 17 else "sdxl"
        given = dict(zip(names, numbers, strict=True))
        return parse_weights([given.get(name, 0.0) for name in BLOCKS[family]], Layout(family), where)
    return parse_weights(value, Layout("sdxl" if len(numbers) == 20 else "sd1"), where)


def _check_number(where: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(where, repr(value), "a finite number")
