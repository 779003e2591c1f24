"""Data sets in one file: kohya's meta_*.json and .jsonl (its library/train_util.py:2240-2350), EveryDream's json.

kohya joins caption and tags; so does this, also where the caption is empty and wildcards are on (kohya then loses the
tags). ``image_size`` is not believed: sizes are measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data import everydream
from lib_astolfo.training.data.captions import Wording
from lib_astolfo.training.data.everydream import Config
from lib_astolfo.training.data.folders import add
from lib_astolfo.training.data.pictures import ENDINGS
from lib_astolfo.training.data.sources import Entry, Reading, Source

_KOHYA = {"caption", "tags", "image_size", "image_path", "train_resolution", "bucket_reso"}


def read_into(reading: Reading, path: Path, source: Source) -> None:
    """List the pictures of a metadata file; which kind it is, its content says."""
    if path.suffix.lower() == ".jsonl":
        _kohya(reading, path, source, _lines(path))
        return
    data = everydream.read_json(path)
    if isinstance(data, dict) and source.format != "everydream":
        _kohya(reading, path, source, iter(data.items()))
    elif isinstance(data, list) and source.format != "metadata":
        _everydream(reading, path, source, data)
    else:
        found = "a list" if isinstance(data, list) else "a mapping" if isinstance(data, dict) else "neither"
        raise BadInput(path, found, "kohya's mapping of pictures, or EveryDream's list with source.format=everydream")


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, f"a file that cannot be read ({error})", "JSON lines in UTF-8") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}, line {number}", f"invalid JSON ({error})", "one mapping a line") from error
        if not isinstance(data, dict) or not isinstance(data.get("image_path"), str):
            raise BadInput(f"{path}, line {number}", "no image_path", "a mapping with image_path, caption, tags")
        yield data["image_path"], data


def _kohya(reading: Reading, path: Path, source: Source, pairs: Iterator[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, data in pairs:
        if not isinstance(data, dict):
            raise BadInput(f"{path}: {key}", type(data).__name__, "a mapping with caption and tags")
        for name in ("caption", "tags"):
            if not isinstance(data.get(name), (str, type(None))):
                raise BadInput(f"{path}: {key}: {name}", type(data[name]).__name__, "a text")
        if key in seen:
            reading.leave(Path(key), f"{path.name} has it twice; the first stands")
            continue
        seen.add(key)
        strange = sorted(set(data) - _KOHYA)
        if strange:
            reading.note(f"{path}: {', '.join(strange)} is not used")
        picture = _picture(path, source, key)
        if picture is None:
            reading.leave(_root(path, source) / key, f"{path.name} names it, but there is no such picture")
            continue
        caption, tags = (data.get("caption") or "").strip(), (data.get("tags") or "").replace("\n", ", ").strip()
        lines = [line for line in caption.split("\n") if line.strip()] or [""]
        text = "\n".join(", ".join(filter(None, (line.strip(), tags))) for line in lines)
        add(reading, source, Entry(picture, path.name, Wording(text)), Config())


def _everydream(reading: Reading, path: Path, source: Source, entries: list[Any]) -> None:
    source = replace(source, missing=source.missing or "name")

    def beside(text: str) -> str:
        file = _root(path, source) / text
        return everydream.read_text(file) if _is_caption(file) else text

    for number, data in enumerate(entries):
        where = f"{path}, entry {number}"
        if not isinstance(data, Mapping) or not isinstance(data.get("image"), str):
            raise BadInput(where, "no image", "a mapping with image, caption or main_prompt and tags")
        picture = _picture(path, source, data["image"])
        if picture is None:
            reading.leave(_root(path, source) / data["image"], f"{path.name} names it, but there is no such picture")
            continue
        config = everydream.from_dict(data, where, beside)
        if config.unused:
            reading.note(f"{path}: {', '.join(config.unused)} of EveryDream is not used")
        add(reading, source, Entry(picture, path.name, Wording()), config)


def _root(path: Path, source: Source) -> Path:
    return Path(source.root) if source.root else path.parent


def _is_caption(file: Path) -> bool:
    try:
        return file.suffix.lower() in (".txt", ".caption") and file.is_file()
    except (OSError, ValueError):  # a caption that is far too long for a name
        return False


def _picture(path: Path, source: Source, key: str) -> Path | None:
    """The file of a key: as it stands, or, as kohya's own tools write it, without its ending."""
    named = _root(path, source) / key.replace("\\", "/") if "\\" in key else _root(path, source) / key
    try:
        if named.is_file():
            return named
        for ending in ENDINGS:
            for spelled in (ending, ending.upper()):
                found = named.with_name(named.name + spelled)
                if found.is_file():
                    return found
    except (OSError, ValueError):
        return None
    return None
