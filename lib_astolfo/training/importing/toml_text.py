"""kohya's two kinds of toml: the options of a program, and its data sets."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.training.importing import options

Table = dict[str, Any]


def load(text: str, where: str) -> Table:
    """The tables of a text in toml, or in json. Raises BadInput naming the line."""
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadInput(where, f"invalid JSON ({error})", "one mapping") from error
        return dict(found)
    parser = _parser()
    try:
        return dict(parser.loads(text.lstrip("\ufeff")))
    except (parser.TOMLDecodeError, RecursionError) as error:
        raise BadInput(where, f"invalid TOML ({error})", "a toml file of kohya's sd-scripts") from error


def _parser() -> Any:
    """Python has its own from 3.11 on."""
    try:
        return import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError as error:
        raise BadInput("toml", "no reader of TOML in this Python", "`pip install tomli`, or Python 3.11") from error


def is_datasets(table: Mapping[str, Any]) -> bool:
    """Whether it describes data sets (``[general]`` and ``[[datasets]]``) and not the options of a program."""
    return isinstance(table.get("datasets"), list)


def given(table: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The options of a program, sections flattened as kohya does (library/train_util.py:4748-4758), and (key, value) of
    those that no program knows. kohya takes such a key without a word, and nothing reads it."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat.update(value) if isinstance(value, Mapping) else flat.update({key: value})
    known, strange = {}, []
    for key, value in flat.items():
        option = options.table().get(key)
        if option is None:
            strange.append((key, str(value)))
        elif value is not None and value != []:
            known[key] = options.value_of(key, option.kind, _listed(option.kind, value))
    return known, strange


def _listed(kind: str, value: Any) -> Any:
    """``resolution = [512, 768]`` and lists of words where an option has them as a text."""
    if kind == "text" and isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return value
