"""The sha256 of checkpoints, each computed once: a JSON file remembers it with size and time of the file.

It is a convenience that can be lost: what cannot be read is computed anew, and a full disk does not stop the work.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from lib_astolfo.checkpoints.files import write_text
from lib_astolfo.checkpoints.locks import locked
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import AstolfoError

Progress: TypeAlias = Callable[[int, int, str], None]
Digest: TypeAlias = Callable[[CheckpointFile, Progress | None], str]

MOST = 20_000  # files remembered; the oldest are forgotten
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Digests:
    """Whole sha256 digests by path, size and time of change; safe for two processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, file: CheckpointFile, progress: Progress | None = None) -> str:
        """The digest of an open file, computed unless it is known."""
        known = self.known(file.path)
        if known is None or file.changed():
            known = file.sha256(progress)
            self._keep(file, known)
        return known

    def known(self, path: Path) -> str | None:
        """The digest of a file as it is now, if it was computed; reads nothing of the file."""
        key, stamp = _key(path)
        entry = self._read().get(key)
        return entry[2] if stamp is not None and entry is not None and (entry[0], entry[1]) == stamp else None

    def _keep(self, file: CheckpointFile, digest: str) -> None:
        key, stamp = _key(file.path)
        if stamp is None or stamp != file.identity()[2:]:
            return
        with suppress(AstolfoError, OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path.with_name(self.path.name + ".lock")):
                entries = self._read()
                entries.pop(key, None)
                entries[key] = (*stamp, digest)
                kept = dict(list(entries.items())[-MOST:])
                write_text(self.path, json.dumps(kept, ensure_ascii=False), overwrite=True)

    def _read(self) -> dict[str, tuple[int, int, str]]:
        try:
            values = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return {key: tuple(entry) for key, entry in values.items() if _sound(entry)} if isinstance(values, dict) else {}


def _sound(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and [type(value) for value in entry] == [int, int, str]
        and _SHA256.fullmatch(entry[2]) is not None
    )


def _key(path: Path) -> tuple[str, tuple[int, int] | None]:
    real = os.path.realpath(path)
    try:
        status = os.stat(real)
    except OSError:
        return real, None
    return real, (status.st_size, status.st_mtime_ns)
