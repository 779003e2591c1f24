"""Recipes from plain values and YAML: what people write, made into what ``Recipe`` holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lib_astolfo.checkpoints import presets
from lib_astolfo.checkpoints.blocks import finite, parse_weights
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import adjust, elemental, recipe_yaml
from lib_astolfo.merging.lora.use import read_uses
from lib_astolfo.merging.recipe_check import ENGINE_OPTIONS

R = TypeVar("R")

KEYS = (
    "method",
    "models",
    "ratio",
    "blocks",
    "elements",
    "patterns",
    "options",
    "loras",
    "adjust",
    "dtype",
    "output",
    "hashes",
)
#: Numbers in a list of block ratios that can only be SDXL's: with and without the VAE's, and supermerger's long one.
_XL_COUNTS = (20, 21, 110)


def load_yaml(path: str | Path) -> Mapping[str, Any]:
    """The mapping in a YAML file. Raises BadInput naming the file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, error, "a readable YAML file in UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Mapping[str, Any]:
    """The mapping in a YAML text. Raises BadInput."""
    try:
        data = recipe_yaml.load(text)
    except RecursionError as error:
        raise BadInput(where, "recipes in recipes without end", "a tree of recipes that ends in files") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput(where, error, "YAML of a recipe") from error
    if not isinstance(data, Mapping):
        raise BadInput(where, type(data).__name__, "a mapping with 'method' and 'models'")
    return data


def read(
    make: Callable[..., R], data: Mapping[str, Any], where: str, above: tuple[int, ...] = (), dtype: str = "fp16"
) -> R:
    """A recipe, made by ``make``, from plain values.

    ``where`` names it in errors; ``above``: the ids of the mappings it lies in; ``dtype``: what it has if it says none.
    Raises BadInput.
    """
    if not isinstance(data, Mapping):
        raise BadInput(where, type(data).__name__, "a mapping with 'method' and 'models'")
    if id(data) in above:
        raise BadInput(where, "a recipe that contains itself", "a tree of recipes that ends in files")
    for key in data:
        if key not in KEYS:
            raise BadInput(f"{where}.{key}", data[key], f"one of {', '.join(KEYS)}")
    models = data.get("models")
    if not isinstance(models, Mapping):
        raise BadInput(f"{where}.models", models, "a mapping such as {a: base.safetensors, b: trained.safetensors}")
    inner = {
        slot: read(make, m, f"{where}.models.{slot}", (*above, id(data)), "fp32") if isinstance(m, Mapping) else m
        for slot, m in models.items()
    }
    blocks, elements, numbers = (data.get(name) for name in ("blocks", "elements", "adjust"))
    return make(
        method=str(data.get("method", "")),
        models=inner,
        ratio=data.get("ratio"),
        blocks=None if blocks is None else read_blocks(blocks, f"{where}.blocks"),
        options=_read_options(_mapping(data.get("options"), f"{where}.options"), f"{where}.options"),
        dtype=data.get("dtype") or dtype,
        output=data.get("output"),
        hashes=_mapping(data.get("hashes"), f"{where}.hashes"),
        loras=read_uses(data.get("loras"), f"{where}.loras"),
        elements=() if elements is None else elemental.read(elements, f"{where}.elements"),
        patterns=_mapping(data.get("patterns"), f"{where}.patterns"),
        adjust=() if numbers is None else adjust.read(numbers, f"{where}.adjust"),
    )


def _mapping(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadInput(where, value, "a mapping")
    return dict(value)


def _read_options(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options of the method that are lists or mappings are numbers per block."""
    return {
        name: read_blocks(value, f"{where}.{name}")
        if name not in ENGINE_OPTIONS and isinstance(value, Mapping | list | tuple)
        else value
        for name, value in options.items()
    }


def read_blocks(value: object, where: str = "blocks") -> dict[str, float]:
    """Numbers per block from a mapping, a list or text of numbers, a preset's name, or a text ``IN03-OUT05:0.7,M00:1``.

    Lists have 20 numbers (SDXL), 26 (SD1), one more for the VAE, or 110 (supermerger's extended list of SDXL).
    """
    if isinstance(value, str) and ":" in value:
        pairs = [part.rpartition(":") for part in value.replace("\n", ",").split(",") if part.strip()]
        value = {name.strip(): finite(number.strip(), f"{where}.{name.strip()}") for name, _, number in pairs}
    if isinstance(value, Mapping):
        named = {str(name).upper().replace(" ", ""): number for name, number in value.items()}
        preset = named.pop("PRESET", None)
        return {**(_preset(preset, f"{where}.preset") if preset is not None else {}), **named}
    if not isinstance(value, str | list | tuple):
        raise BadInput(where, value, "a mapping of blocks, 20 or 26 numbers, or a preset's name")
    count = len(value.replace(",", " ").split()) if isinstance(value, str) else len(value)
    return parse_weights(value, Layout("sdxl" if count in _XL_COUNTS else "sd1"), where)


def _preset(name: object, where: str) -> dict[str, float]:
    found = presets.find(name) if isinstance(name, str) else None
    if found is None:
        raise BadInput(where, repr(name)[:80], f"one of {', '.join(presets.load())}")
    return parse_weights(found, Layout("sd1"), where)
