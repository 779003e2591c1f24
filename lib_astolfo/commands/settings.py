"""Settings dataclasses: one object from YAML, command line and REST body to the work itself.

A command's settings are a frozen dataclass; the comment behind a field is its word of help. Allowed types are str, int,
float, bool, ``T | None``, list[T], dict[str, T], Any and nested dataclasses of these. What a type cannot say
(limits, choices) is checked in ``__post_init__`` by BadInput. Importing such a module must stay cheap: no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

S = TypeVar("S")


def read(settings_type: type[S], path: Path | None = None, overrides: Iterable[str] = ()) -> S:
    """Settings from a YAML file and ``key=value`` overrides. Errors: BadInput naming file and key."""
    raise NotImplementedError


def from_dict(settings_type: type[S], values: Mapping[str, Any], where: str = "") -> S:
    """Settings from plain values (a REST body); nothing in it is interpolated. Errors: BadInput naming the key."""
    raise NotImplementedError


def to_dict(settings: Any) -> dict[str, Any]:
    """Plain JSON values, the inverse of ``from_dict``."""
    raise NotImplementedError


@dataclass(frozen=True)
class Key:
    """One field of a settings class as ``--help`` and /docs show it."""

    name: str
    type: str
    default: Any
    help: str


def keys(settings_type: type) -> tuple[Key, ...]:
    """The fields of a settings class in order, with the comments behind them."""
    raise NotImplementedError
