"""Recipes of other programs, read and written.

One module for each format; each is a pure function from text or header to a ``Reading``: our recipe, and notes of
what was translated. What has no like here is a BadInput that names the file, the line or key, what is there and what
would be right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lib_astolfo.checkpoints import metadata as headers
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import Recipe

from . import a1111, autombw, mecha, mecha_text, mergekit, supermerger_text
from .reading import Reading

__all__ = ["FORMATS", "Reading", "from_header", "read", "read_file"]

LARGEST = 64_000_000  # bytes of a recipe's text
MECHA = "mecha_recipe"  # sd-mecha's header entry


def _astolfo(text: str, where: str) -> Reading:
    return Reading("astolfo", _named(where, Recipe.from_yaml, text))


def _json(text: str, where: str) -> Reading:
    data = _parse(json.loads, text, where, "JSON")
    if not isinstance(data, Mapping):
        raise BadInput(where, f"a JSON {type(data).__name__}", "an object with a recipe or a header")
    found = data.get("__metadata__", data)
    if isinstance(found, Mapping) and any(key in found for key in (headers.RECIPE, a1111.RECIPE, MECHA)):
        return from_header(found, where)
    if "interp_method" in data or data.get("type") == "sd-webui-supermerger":
        return a1111.read({a1111.RECIPE: data}, where)
    if mergekit.looks_like(data):
        return mergekit.read(data, where)
    if "method" in data:
        return Reading("astolfo", _named(where, Recipe.from_dict, data))
    if "prompt" in data and "steps" in data:
        raise BadInput(where, "a request to draw pictures (auto-MBW's payload)", "a recipe of a merge")
    raise BadInput(where, f"JSON with the keys {', '.join(map(str, data))[:200]}", f"a header with {a1111.RECIPE}")


def _mergekit(text: str, where: str) -> Reading:
    return mergekit.read(_parse(yaml.safe_load, text, where, "YAML"), where)


#: Format to its reader, ``(text, where) -> Reading``.
FORMATS: dict[str, Callable[[str, str], Reading]] = {
    "astolfo": _astolfo,
    "mecha": mecha.read,
    "a1111": _json,
    "supermerger": supermerger_text.read,
    "autombw": autombw.read,
    "autombw_table": autombw.read_table,
    "mergekit": _mergekit,
}


def format_of(text: str) -> str:
    """The format that a text is in; ``astolfo`` for YAML that is no other's."""
    start = text.lstrip("\ufeff").lstrip()
    if start.startswith("{"):
        return "a1111" if start[1:].lstrip()[:1] in ('"', "}", "") else "astolfo"  # JSON, or YAML in one line
    tests = {
        "autombw": autombw.looks_like,
        "autombw_table": autombw.looks_like_table,
        "supermerger": supermerger_text.looks_like,
        "mecha": mecha_text.looks_like,
    }
    found = next((name for name, test in tests.items() if test(text)), "")
    if found:
        return found
    return "mergekit" if any(line.startswith("merge_method:") for line in text.splitlines()) else "astolfo"


def read(text: str, where: str = "recipe", format: str = "") -> Reading:
    """The recipe in a text.

    Args:
        text: of the recipe.
        where: the file's name for messages.
        format: one of ``FORMATS``; empty: what the text looks like.

    Raises:
        BadInput: it cannot be read, or means what Astolfo cannot do.
    """
    if format and format not in FORMATS:
        raise BadInput("format", format, f"one of {', '.join(FORMATS)}")
    return FORMATS[format or format_of(text)](text, where)


def read_file(path: str | Path, format: str = "") -> Reading:
    """The recipe in a file: a text of any format, or the header of a merged checkpoint. Errors: BadInput."""
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        with CheckpointFile.open(path) as file:
            return from_header(file.metadata, str(path))
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise BadInput(path, f"more than {LARGEST} bytes", "the text of a recipe")
        text = data.decode("utf-8")
    except OSError as error:
        raise BadInput(path, error.strerror or error, "a file with a recipe") from error
    except UnicodeDecodeError as error:
        raise BadInput(path, f"bytes that are no text ({error.reason} at byte {error.start})", "UTF-8") from error
    return read(text, str(path), format)


def from_header(metadata: Mapping[str, Any], where: str = "header") -> Reading:
    """The recipe in a checkpoint's header: ours first, then sd-mecha's, then A1111's or supermerger's."""
    if metadata.get(headers.RECIPE):
        return _astolfo(str(metadata[headers.RECIPE]), f"{where}: {headers.RECIPE}")
    if metadata.get(MECHA):
        return mecha.read(str(metadata[MECHA]), f"{where}: {MECHA}")
    if metadata.get(a1111.RECIPE):
        return a1111.read(metadata, where)
    known = ", ".join((headers.RECIPE, MECHA, a1111.RECIPE))
    raise BadInput(where, "no recipe", f"the header of a merged file, with one of {known}")


def _parse(parse: Callable[[str], Any], text: str, where: str, kind: str) -> Any:
    try:
        return parse(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise BadInput(where, " ".join(str(error).split())[:200], kind) from error


def _named(where: str, make: Callable[[Any], Recipe], given: Any) -> Recipe:
    try:
        return make(given)
    except BadInput as error:
        raise BadInput(f"{where}: {error.where}", error.found, error.expected) from error
