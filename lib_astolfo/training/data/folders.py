"""Folders of pictures: captions beside them, EveryDream's files, kohya's ``10_name``."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data import everydream
from lib_astolfo.training.data.captions import Wording
from lib_astolfo.training.data.everydream import Config
from lib_astolfo.training.data.pictures import ENDINGS
from lib_astolfo.training.data.sources import Entry, Reading, Source

#: What kohya's int() of the part before the first ``_`` accepts (library/config_util.py:608-616), of plain digits.
_REPEATS = re.compile(r"(\d+)(?:_(.*))?", re.ASCII | re.DOTALL)
MANY = 200  # repeats above this are pointed out: 2023_holiday is likely a year
_DEPTH = 32
#: Endings that people take for pictures; left out by name, others are passed over.
UNREAD = (".heic", ".heif", ".psd", ".svg", ".mp4", ".webm", ".mov", ".mkv", ".tga", ".dng", ".cr2", ".nef")


def read_into(reading: Reading, folder: Path, source: Source) -> None:
    """List a folder, as ``Source`` says."""
    inner = _folders(folder)
    own, auto = _repeats(_name(folder)), source.format == "auto"
    # Where the format is to be guessed, a number alone is no repeat: a folder 512 or 2023 is likely something else.
    numbered = [path for path in inner if _repeats(path.name) is not None and ("_" in path.name or not auto)]
    kohya = source.format == "kohya" or (auto and (numbered or (own is not None and "_" in _name(folder))))
    if not kohya:
        name = source.format == "everydream"
        _Walk(reading, replace(source, missing=source.missing or ("name" if name else "empty"))).visit(folder)
    elif numbered:
        _parent(reading, folder, source, inner)
    elif own is not None:
        _concept(reading, folder, source, own)
    else:
        raise BadInput(folder, "no folder named like 10_name", "kohya's folders, or source.format=folder")


def _parent(reading: Reading, folder: Path, source: Source, inner: list[Path]) -> None:
    for path in inner:
        found = _repeats(path.name)
        if found is None:
            reading.leave(path, "a folder without repeats in its name: kohya takes 10_name only")
        else:
            _concept(reading, path, source, found)
    for path in _files(folder):
        if path.suffix.lower() in ENDINGS:
            reading.leave(path, "beside folders with repeats, where kohya looks into these alone")


def _concept(reading: Reading, folder: Path, source: Source, found: tuple[int, str]) -> None:
    """A folder ``10_name``: ``name`` is the caption where there is none."""
    repeats, name = found
    if repeats < 1:
        reading.leave(folder, "its name says 0 repeats")
        return
    if repeats > MANY:
        reading.note(f"{folder}: the name is read as {repeats} repeats")
    walk = _Walk(reading, replace(source, repeats=source.repeats * repeats, missing=source.missing or "empty"), name)
    walk.visit(folder, deep=False)


def _repeats(name: str) -> tuple[int, str] | None:
    """(repeats, rest of the name) of ``10_name``; None of other names. A bare ``10`` counts as kohya counts it."""
    match = _REPEATS.fullmatch(name)
    return (int(match[1][:9]), match[2] or "") if match else None


def _name(folder: Path) -> str:
    return folder.name or folder.resolve().name


class _Walk:
    """Lists one data set's folders; ``name`` is the caption of pictures without one, of kohya's folders."""

    def __init__(self, reading: Reading, source: Source, name: str = "") -> None:
        self.reading, self.source, self.name = reading, source, name

    def visit(self, folder: Path, above: Config = Config(), deep: bool = True, depth: int = 0) -> None:  # noqa: B008
        """This folder, then those in it, by name. ``above`` is what global.yaml files above say."""
        files = _files(folder)
        names = [path.name for path in files]
        below, here = everydream.of_folder(folder, names)
        below = above.under(below)
        taken: dict[str, Path] = {}
        for path in files:
            if path.suffix.lower() in UNREAD:
                self.reading.leave(path, f"the ending {path.suffix}: not a kind of picture that is read")
            if path.suffix.lower() not in ENDINGS:
                continue
            if path.name.startswith("."):
                self.reading.leave(path, "a hidden file")
                continue
            if path.stem in taken:
                self.reading.note(f"{path}: shares its caption file with {taken[path.stem].name}")
            taken.setdefault(path.stem, path)
            self._take(path, set(names), below.under(here))
        for inner in _folders(folder):
            if inner.name.startswith("."):
                self.reading.leave(inner, "a hidden folder")
            elif not deep:
                self.reading.leave(inner, "inside a folder with repeats, where kohya takes the pictures alone")
            elif depth >= _DEPTH or inner.is_symlink():
                self.reading.leave(inner, "a link to a folder" if inner.is_symlink() else "too many folders deep")
            else:
                self.visit(inner, below, depth=depth + 1)

    def _take(self, path: Path, names: set[str], around: Config) -> None:
        try:
            text, beside = self._text(path, names), Config()
            for ending in (".yml", ".yaml"):
                if path.stem + ending in names and path.stem + ending not in everydream.CONTROL:
                    beside = beside.under(everydream.from_yaml(path.with_name(path.stem + ending)))
        except BadInput as error:
            self.reading.leave(path, f"its caption: {error}")
            return
        config = around.under(beside)
        if config.unused:
            self.reading.note(f"{path.parent}: {', '.join(config.unused)} of EveryDream is not used")
        if config.main or config.tags:  # taken apart as EveryDream does: yaml beside it, caption, folder
            config = around.under(everydream.from_text(" ".join((text or "").split("\n")))).under(beside)
        add(self.reading, self.source, Entry(path, path.parent.name, Wording(text or "")), config, self.name)

    def _text(self, path: Path, names: set[str]) -> str | None:
        for ending in self.source.captions:
            name = path.stem + ending
            if name in names and name not in everydream.CONTROL:
                return everydream.read_text(path.with_name(name)).strip()
        return None


def add(reading: Reading, source: Source, plain: Entry, config: Config, name: str = "") -> None:
    """Take a picture with its caption as read, what EveryDream's files say of it, and what stands for no caption."""
    own = config.caption if config.main or config.tags else plain.wording.text
    stem = plain.path.stem.split("_")[0].strip()
    if not own and source.missing == "leave_out":
        reading.leave(plain.path, "no caption")
        return
    if not own:
        caption = stem if source.missing == "name" else name.strip()
    elif source.missing == "name" and config.tags and not config.main:
        caption = f"{stem}, {own}"
    else:
        caption = own
    wording = Wording(caption, config.dropout, config.shuffle, 1 if config.shuffle else 0, config.weights)
    reading.entries.append(
        Entry(
            plain.path,
            plain.source,
            wording,
            bool(own),
            source.repeats * (1.0 if config.multiply is None else config.multiply),
            config.flip,
            source.weight * (1.0 if config.loss_scale is None else config.loss_scale),
        )
    )


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise BadInput(folder, f"a folder that cannot be read ({error.strerror})", "a readable folder") from error


def _files(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in _listed(folder) if not entry.is_dir()]


def _folders(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in _listed(folder) if entry.is_dir()]
