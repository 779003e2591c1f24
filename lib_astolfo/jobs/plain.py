"""Values made fit for the journal: plain JSON, and without secrets."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

HIDDEN = "***"
_SECRET_KEY = re.compile(
    r"(?:^|[_\-.])(?:password|passwd|secret|token|api_?key|credentials?|authorization|auth)$", re.I
)
_IN_ADDRESS = re.compile(r"(?<=://)([^/\s@:]*):([^/\s@]+)(?=@)")  # user:password@ in a URL


def plain(value: Any) -> Any:
    """The same in dicts, lists, str, int, float, bool and None. NaN and infinity, which JSON lacks, become None."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy and torch: scalars and arrays
        return plain(value.tolist())
    return str(value)


def to_json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=True, allow_nan=False)


def hide(value: Any, found: set[str] | None = None, key: str = "") -> Any:
    """A copy in which passwords, tokens and keys are ``***``: by the name of their key, or inside a URL.

    The secrets themselves are added to ``found``.
    """
    if isinstance(value, Mapping):
        return {name: hide(inner, found, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hide(inner, found, key) for inner in value]
    if not isinstance(value, str) or not value:
        return value
    if _SECRET_KEY.search(key):
        if found is not None:
            found.add(value)
        return HIDDEN
    if found is not None:
        found.update(match.group(2) for match in _IN_ADDRESS.finditer(value))
    return _IN_ADDRESS.sub(rf"\1:{HIDDEN}", value)


def blotted(value: Any, secrets: set[str]) -> Any:
    """``without`` for every text in plain data."""
    if isinstance(value, str):
        return without(value, secrets)
    if isinstance(value, dict):
        return {key: blotted(inner, secrets) for key, inner in value.items()}
    return [blotted(inner, secrets) for inner in value] if isinstance(value, list) else value


def without(text: str, secrets: set[str]) -> str:
    """``text`` with every one of ``secrets`` blotted out."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _IN_ADDRESS.sub(rf"\1:{HIDDEN}", text)
