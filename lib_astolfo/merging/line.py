"""A recipe as one line of text, for infotexts, fields and logs: YAML in flow style, which reads back to the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import Recipe


def to_line(recipe: Recipe) -> str:
    """``{method: weighted_sum, models: {a: base.safetensors, b: trained.safetensors}, ratio: 0.85, dtype: fp16}``."""
    values = {name: value for name, value in recipe.to_dict().items() if name != "output"}
    flow: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "allow_unicode": True, "width": math.inf}
    text: str = yaml.safe_dump(_plain(values), **flow)
    return text.strip()


def from_line(text: str, where: str = "merge") -> Recipe:
    """A recipe from such a line, or from a recipe's YAML of several lines. Errors: BadInput naming the key."""
    try:
        return Recipe.from_yaml(text)
    except BadInput as error:
        place = error.where.removeprefix("recipe").removeprefix(".") if "method" in text else ""
        found = repr(text) if not place else error.found
        expected = error.expected if place else "a recipe in YAML, as {method: weighted_sum, models: {a: …, b: …}, …}"
        raise BadInput(f"{where}.{place}" if place else where, found, expected) from error


def _plain(value: Any) -> Any:
    """Numbers, texts, lists and mappings alone, as YAML's safe dumper wants them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
