"""Checks that the settings of training share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import BadInput


def number(settings: Any, name: str, where: str, bounds: tuple[float, float], *, whole: bool = False) -> None:
    """The field ``name`` of frozen ``settings`` as a float (int with ``whole``) within ``bounds``, else BadInput."""
    low, high = bounds
    value = getattr(settings, name)
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or not low <= value <= high:
        raise BadInput(f"{where}.{name}", repr(value), f"a {'whole ' if whole else ''}number from {low:g} to {high:g}")
    object.__setattr__(settings, name, value if whole else float(value))


def choice(settings: Any, name: str, where: str, choices: Sequence[str]) -> None:
    """BadInput unless the field ``name`` is one of ``choices``."""
    if getattr(settings, name) not in choices:
        raise BadInput(f"{where}.{name}", repr(getattr(settings, name)), "one of " + ", ".join(choices))


def flag(settings: Any, name: str, where: str) -> None:
    """BadInput unless the field ``name`` is true or false."""
    if not isinstance(getattr(settings, name), bool):
        raise BadInput(f"{where}.{name}", repr(getattr(settings, name)), "true or false")


def unused(settings: Any, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that differ from the class's defaults."""
    fresh = type(settings)()
    return [name for name in names if getattr(settings, name) != getattr(fresh, name)]
