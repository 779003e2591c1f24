"""EveryDream2's way to say things about pictures: yaml beside them, in their folder and above it, and small text files.

Meaning as in its data/dataset.py:43-235 (5098db83): ``global.yaml`` holds for a folder and all below it, ``local.yaml``
and the text files for one folder, a yaml of the picture's name for one picture; the nearer one stands before the
farther, tags of all are joined, the nearest first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints import yamls
from lib_astolfo.errors import BadInput

#: Names of the yaml files of a folder.
GLOBALS = ("global.yaml", "global.yml")
LOCALS = ("local.yaml", "local.yml")
#: Text files of a folder that hold one number, and the setting that each is.
NUMBERS = {
    "multiply.txt": "multiply",
    "cond_dropout.txt": "dropout",
    "flip_p.txt": "flip",
    "loss_scale.txt": "loss_scale",
}
SHUFFLE = "shuffle_tags.txt"
UNUSED_FILES = ("batch_id.txt",)
CONTROL = frozenset({*GLOBALS, *LOCALS, *NUMBERS, SHUFFLE, *UNUSED_FILES})
_UNUSED = ("rating", "batch_id", "max_caption_length")
_NAMES = {"multiply": "multiply", "cond_dropout": "dropout", "flip_p": "flip", "loss_scale": "loss_scale"}
_MOST = {"multiply": 10_000.0, "dropout": 1.0, "flip": 1.0, "loss_scale": 1e6}
_MAX_TEXT = 1 << 20


@dataclass(frozen=True)
class Config:
    """What one file says, or several together. None and empty mean that nothing was said.

    ``tags`` are (tag, weight); ``unused`` names settings that were given and that Astolfo does not have.
    """

    main: tuple[str, ...] = ()
    tags: tuple[tuple[str, float], ...] = ()
    multiply: float | None = None
    dropout: float | None = None
    flip: float | None = None
    loss_scale: float | None = None
    shuffle: bool | None = None
    unused: tuple[str, ...] = ()

    def under(self, nearer: Config) -> Config:
        """This with everything that a nearer file says before it."""
        values: dict[str, Any] = {}
        for field in fields(self):
            far, near = getattr(self, field.name), getattr(nearer, field.name)
            if isinstance(near, tuple):
                values[field.name] = tuple(dict.fromkeys([*near, *far]))
            else:
                values[field.name] = far if near is None else near
        values["shuffle"] = (self.shuffle or nearer.shuffle) or values["shuffle"]
        return Config(**values)

    @property
    def caption(self) -> str:
        """The first main prompt and the tags, heavier ones first."""
        tags = sorted(self._weighed().items(), key=lambda pair: -pair[1])
        return ", ".join([*self.main[:1], *(tag for tag, _ in tags)])

    @property
    def weights(self) -> tuple[tuple[str, float], ...]:
        """(tag, weight) where weights differ, else nothing."""
        known = self._weighed()
        return tuple(known.items()) if len(set(known.values())) > 1 else ()

    def _weighed(self) -> dict[str, float]:
        known: dict[str, float] = {}
        for tag, weight in self.tags:
            known.setdefault(tag, weight)  # of a tag given twice the nearest stands
        return known


def from_text(text: str) -> Config:
    """A caption of one line: what comes before the first comma is the main prompt, the rest are tags."""
    parts = [part.strip() for part in text.split(",")]
    return Config(main=tuple(parts[:1]) if parts[0] else (), tags=tuple((tag, 1.0) for tag in parts[1:] if tag))


def from_dict(data: Mapping[str, Any], where: str, beside: Callable[[str], str] | None = None) -> Config:
    """The settings of a yaml file or of an entry of a json file.

    ``caption`` may be text, a mapping like this one, or, with ``beside``, the name of a text file that it reads.
    Raises BadInput naming the key.
    """
    known = {"image", "main_prompt", "tags", "caption", "shuffle_tags", *_NAMES, *_UNUSED}
    for key in data:
        if key not in known:
            raise BadInput(where, f"the key {key!r}", "one of " + ", ".join(sorted(known)))
    values: dict[str, Any] = {
        name: _number(data[key], f"{where}: {key}", _MOST[name])
        for key, name in _NAMES.items()
        if data.get(key) is not None
    }
    shuffle = data.get("shuffle_tags")
    if shuffle is not None and not isinstance(shuffle, bool):
        raise BadInput(f"{where}: shuffle_tags", repr(shuffle), "true or false")
    main = data.get("main_prompt")
    mains = [] if main is None else main if isinstance(main, list) else [main]
    config = Config(
        main=tuple(str(text).strip() for text in mains if str(text).strip()),
        tags=tuple(_tags(data.get("tags") or [], where)),
        shuffle=shuffle,
        unused=tuple(key for key in _UNUSED if data.get(key) is not None),
        **values,
    )
    caption = data.get("caption")
    if isinstance(caption, Mapping):
        return config.under(from_dict(caption, f"{where}: caption"))
    if caption:
        text = beside(str(caption)) if beside is not None else str(caption)
        return config.under(from_text(text.strip()))
    return config


def from_yaml(path: Path) -> Config:
    """A yaml file of a picture or folder. Raises BadInput naming file and key."""
    return from_dict(yamls.load(path), str(path)) if path.stat().st_size else Config()


def of_folder(folder: Path, names: Iterable[str]) -> tuple[Config, Config]:
    """What a folder's files say: (for it and all below it, for it alone). ``names`` are its files."""
    present = set(names)
    below, here = Config(), Config()
    for name in GLOBALS:
        if name in present:
            below = below.under(from_yaml(folder / name))
    for name, setting in NUMBERS.items():
        if name in present:
            value = _number(read_text(folder / name).strip(), str(folder / name), _MOST[setting])
            said: dict[str, Any] = {setting: value}
            here = here.under(Config(**said))
    for name in LOCALS:
        if name in present:
            here = here.under(from_yaml(folder / name))
    if SHUFFLE in present:
        here = here.under(Config(shuffle=True))
    unused = tuple(name for name in UNUSED_FILES if name in present)
    return below, here.under(Config(unused=unused))


def read_text(path: Path) -> str:
    """A small UTF-8 file, with or without a byte order mark. Raises BadInput naming it."""
    try:
        if path.stat().st_size > _MAX_TEXT:
            raise BadInput(path, f"{path.stat().st_size} bytes", "a caption or a number")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        expected = "UTF-8; save the file anew in that encoding"
        raise BadInput(path, f"text that is not UTF-8 (byte {error.start})", expected) from error
    except OSError as error:
        raise BadInput(path, f"a file that cannot be read ({error.strerror})", "a text file") from error


def read_json(path: Path) -> Any:
    """A JSON file. Raises BadInput naming it and the line."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadInput(path, f"invalid JSON ({error})", "a JSON file in UTF-8") from error
    except OSError as error:
        raise BadInput(path, f"a file that cannot be read ({error.strerror})", "a readable JSON file") from error


def _tags(tags: object, where: str) -> list[tuple[str, float]]:
    if not isinstance(tags, list):
        raise BadInput(f"{where}: tags", type(tags).__name__, "a list of texts or of {tag, weight}")
    found = []
    for tag in tags:
        if isinstance(tag, Mapping):
            weight = tag.get("weight")
            weight = 1.0 if weight is None else _number(weight, f"{where}: weight of {tag.get('tag')!r}", 1e6)
            if weight > 0 and tag.get("tag") is not None:
                found.append((str(tag["tag"]).strip(), weight))
        elif tag is not None:
            found.append((str(tag).strip(), 1.0))
    return [pair for pair in found if pair[0]]


def _number(value: object, where: str, most: float) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number <= most:
        raise BadInput(where, repr(value), f"a number from 0 to {most:g}")
    return number
