"""The fields of a settings class as ``--help`` and /docs show them; nothing heavy is imported for it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

_NAMED = re.compile(r"(?:(?<=\n)|(?<=[.;] )|^)\s*(?:(``\w+``(?:, ``\w+``)*)|(?<=\n        )(\w+)): ")


@dataclass(frozen=True)
class Key:
    """One field of a settings class as ``--help`` and /docs show it."""

    name: str
    type: str
    default: Any
    help: str


def keys(settings_type: type) -> tuple[Key, ...]:
    """The fields of a settings class in order, with the comments behind them, or what its docstring says of them.

    Those with ``inner`` in their metadata are nobody's to give.
    """
    help: dict[str, str] = {}
    for base in reversed(settings_type.__mro__):
        if dataclasses.is_dataclass(base):
            help.update(_documented(base.__doc__ or ""))
            help.update({name: text for name, text in _comments(base).items() if text})
    return tuple(
        Key(field.name, str(field.type), _default(field), help.get(field.name, ""))
        for field in dataclasses.fields(settings_type)
        if not field.metadata.get("inner")
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "???" if field.default is dataclasses.MISSING else field.default


def _documented(text: str) -> dict[str, str]:
    """Name to what a docstring says: "``name``, ``other``: words", or "name: words" on a line under Attributes."""
    found = {}
    marks = list(_NAMED.finditer(text))
    for at, mark in enumerate(marks):
        end = marks[at + 1].start() if at + 1 < len(marks) else len(text)
        words = " ".join(text[mark.end() : end].split("\n\n")[0].replace("``", "`").split()).rstrip(" ;.")
        found.update(dict.fromkeys(re.findall(r"\w+", mark.group(1) or mark.group(2)), words))
    return found


@cache
def _comments(settings_type: type) -> dict[str, str]:
    lines, bodies = _source(settings_type.__module__)
    found = {}
    for node in bodies.get(settings_type.__name__, ()):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rest = lines[(node.end_lineno or 1) - 1].encode()[node.end_col_offset :].decode()
            found[node.target.id] = rest.partition("#")[2].strip()
    return found


@cache
def _source(module: str) -> tuple[list[str], dict[str, list[ast.stmt]]]:
    """The lines of a module, and what its classes consist of; nothing where only compiled files are there."""
    try:
        source = inspect.getsource(sys.modules[module])
    except OSError:
        return [], {}
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return source.splitlines(), {node.name: node.body for node in classes}
