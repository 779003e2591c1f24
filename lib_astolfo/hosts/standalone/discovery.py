"""Finding checkpoints: the safetensors files of the models folders, each opened once as long as it does not change."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lib_astolfo.checkpoints.prediction import identify, layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.sidecar import path_for
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import AstolfoError
from lib_astolfo.hosts.base import CheckpointEntry

from .paths import SUFFIX, check_name, is_inside

Stamp = tuple[int, ...]


class Catalogue:
    """The checkpoints of some folders; safe to use from many threads. Earlier folders hide names of later ones."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._known: dict[Path, tuple[Stamp, CheckpointEntry]] = {}
        self._lock = threading.Lock()

    def entries(self) -> list[CheckpointEntry]:
        """All checkpoints, by name; files that cannot be used have family "" and a note. Headers only are read."""
        found: dict[str, CheckpointEntry] = {}
        with self._lock:
            for folder in self.folders:
                for path in _files(folder):
                    name = path.relative_to(folder).as_posix()
                    if name not in found:
                        found[name] = self._entry(name, path)
            present = {entry.path for entry in found.values()}
            for path in set(self._known) - present:
                del self._known[path]
        return [found[name] for name in sorted(found, key=str.lower)]

    def entry(self, path: Path) -> CheckpointEntry:
        """The entry of one file inside the folders."""
        folder = next(folder for folder in self.folders if path.is_relative_to(folder))
        with self._lock:
            return self._entry(path.relative_to(folder).as_posix(), path)

    def set_hash(self, path: Path, short_hash: str) -> None:
        """Remember a file's hash until the file changes."""
        with self._lock:
            if path in self._known:
                stamp, entry = self._known[path]
                self._known[path] = (stamp, replace(entry, short_hash=short_hash))

    def _entry(self, name: str, path: Path) -> CheckpointEntry:
        stamp = _stamp(path)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return replace(known[1], name=name)  # a folder inside another one gives a file two names
        entry = self._read(name, path, stamp[2] if stamp else 0)
        self._known[path] = (stamp, entry)
        return entry

    def _read(self, name: str, path: Path, size: int) -> CheckpointEntry:
        try:
            check_name(name)
            if not is_inside(path, self.folders):
                return CheckpointEntry(
                    name, path, "", size, None, Sampling(), "a link that leads out of the models folders"
                )
            with CheckpointFile.open(path) as file:
                layout = layout_of(file)
                said = identify(file, layout)
            notes = "; ".join(said.notes)
            return CheckpointEntry(name, path, layout.family, size, None, said.sampling, notes, said.uncond)
        except AstolfoError as error:
            return CheckpointEntry(name, path, "", size, None, Sampling(), str(error))


def _files(folder: Path) -> Iterator[Path]:
    """All safetensors files below a folder; hidden ones, unfinished writes and names that are no text are passed over.

    Linux allows names that are no UTF-8; nobody could ask for them, and no JSON could hold them.
    """
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if name.lower().endswith(SUFFIX) and not name.startswith(".") and _is_text(str(path.relative_to(folder))):
                yield path


def _is_text(name: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def _stamp(path: Path) -> Stamp:
    """Changes when the file or the yaml beside it does."""
    stamp: list[int] = []
    for each in (path, path_for(path)):
        try:
            status = each.stat()
            stamp += [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
        except OSError:
            stamp += [0, 0, 0, 0]
    return tuple(stamp)
