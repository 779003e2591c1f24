"""Frozen settings from plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ..errors import BadInput

T = TypeVar("T")


def from_plain(settings: type[T], values: Mapping[str, Any], where: str) -> T:
    """An instance of the dataclass ``settings``; missing keys take their defaults.

    Raises BadInput naming ``where`` and the key for unknown keys, and what the class itself raises for bad values.
    """
    known = {field.name for field in fields(settings)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise BadInput(f"{where}.{key}", "an unknown key", "one of " + ", ".join(sorted(known)))
    return settings(**dict(values))
