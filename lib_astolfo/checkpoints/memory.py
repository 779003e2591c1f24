"""What a user decided per checkpoint, by the file's hash: a JSON file, so that model files need no marker keys.

The hash is the first 10 digits of the file's sha256, as A1111 shows it (modules/sd_models.py, ``CheckpointInfo``), so
what is remembered stays with a file that is renamed or moved. The file::

    {"version": 1, "checkpoints": {"31e35c80fc": {"name": "sd_xl_base_1.0.safetensors",
      "sampling": {"prediction": "v", …} or null, "uncond": {"mode": "null", …} or null, "cfg_rescale": 0.0}},
     "seen": {"31e35c80fc": ["sd_xl_base_1.0.safetensors", 6938078334, 1690361732000000000]}}

``seen``: name, size and time of change of the file that had this hash, so that it need not be hashed again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints.files import write_text
from lib_astolfo.checkpoints.header import check_text
from lib_astolfo.checkpoints.locks import locked
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput, Failed

VERSION = 1
MAX_BYTES = 16 << 20
_HASH = re.compile("[0-9a-f]{10}")
_KEYS = ("name", "sampling", "uncond", "cfg_rescale")

Seen = tuple[str, int, int]


@dataclass(frozen=True)
class Remembered:
    """What stands for one checkpoint; None and 0 where nothing was decided.

    ``cfg_rescale``: 0 to 1 (Lin et al. 2023, arXiv:2305.08891, section 3.4). ``name``: of the file at that time.
    """

    sampling: Sampling | None = None
    uncond: Uncond | None = None
    cfg_rescale: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        for key, kind in (("sampling", Sampling), ("uncond", Uncond)):
            value = getattr(self, key)
            if value is not None and not isinstance(value, kind):
                raise BadInput(key, repr(value), f"a {kind.__name__} or nothing")
        value = self.cfg_rescale
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
            raise BadInput("cfg_rescale", repr(value), "a number from 0 to 1")
        object.__setattr__(self, "cfg_rescale", float(value))
        if not isinstance(self.name, str):
            raise BadInput("name", repr(self.name), "the name of a checkpoint")
        check_text(self.name, "name")

    @property
    def empty(self) -> bool:
        """Whether nothing was decided."""
        return self.sampling is None and self.uncond is None and self.cfg_rescale == 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "sampling": self.sampling.to_dict() if self.sampling is not None else None,
            "uncond": self.uncond.to_dict() if self.uncond is not None else None,
            "cfg_rescale": self.cfg_rescale,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Remembered:
        """The opposite of ``to_dict``; missing keys take their defaults. Errors: BadInput."""
        if not isinstance(values, Mapping):
            raise BadInput("entry", type(values).__name__, "a mapping with " + ", ".join(_KEYS))
        for key in values:
            if key not in _KEYS:
                raise BadInput(str(key)[:40], "an unknown key", "one of " + ", ".join(_KEYS))
        sampling, uncond = values.get("sampling"), values.get("uncond")
        for key, value in (("sampling", sampling), ("uncond", uncond)):
            if value is not None and not isinstance(value, Mapping):
                raise BadInput(key, type(value).__name__, "a mapping or null")
        return cls(
            Sampling.from_dict(sampling) if sampling is not None else None,
            Uncond.from_dict(uncond) if uncond is not None else None,
            values.get("cfg_rescale", 0.0),
            values.get("name", ""),
        )


def check_hash(short_hash: str) -> str:
    """The hash in lower case; BadInput if it is not 10 hexadecimal digits."""
    if not isinstance(short_hash, str) or not _HASH.fullmatch(short_hash.strip().lower()):
        raise BadInput("hash", repr(short_hash), "the first 10 hexadecimal digits of a checkpoint's sha256")
    return short_hash.strip().lower()


@dataclass(frozen=True)
class _Content:
    """The whole file."""

    checkpoints: dict[str, Remembered] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)

    def to_json(self) -> str:
        entries = {key: self.checkpoints[key].to_dict() for key in sorted(self.checkpoints)}
        seen = {key: list(self.seen[key]) for key in entries if key in self.seen}
        values = {"version": VERSION, "checkpoints": entries, "seen": seen}
        return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


class Memory:
    """The file; it is made by the first ``remember``. Safe for many threads and processes.

    Errors of every method: BadInput naming the file when it is damaged; it is then never written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._read: tuple[tuple[int, ...], _Content] | None = None

    def get(self, short_hash: str) -> Remembered | None:
        """What is remembered for this hash, None for nothing."""
        return self._content().checkpoints.get(check_hash(short_hash))

    def all(self) -> dict[str, Remembered]:
        """Everything, by hash, in the order of the names."""
        known = self._content().checkpoints
        return {key: known[key] for key in sorted(known, key=lambda key: (known[key].name.lower(), key))}

    def hash_of(self, path: Path) -> str | None:
        """The hash of a file for which something is remembered, without reading it; None if that is not known."""
        seen = self._content().seen
        if not seen:
            return None
        stamp = _stamp(path)
        return next((key for key, value in seen.items() if value == stamp), None)

    def remember(self, short_hash: str, what: Remembered, file: Path | None = None) -> None:
        """Put it in place of what stood there. ``file`` has this hash now. Errors: BadInput also for nothing decided,
        Failed on a full disk."""
        key = check_hash(short_hash)
        if what.empty:
            raise BadInput("remember", "neither sampling nor uncond nor CFG rescale", "one of them, or to forget")
        stamp = _stamp(file) if file is not None else None

        def put(content: _Content) -> None:
            content.checkpoints[key] = what
            if stamp is not None:
                content.seen[key] = stamp

        self._change(put)

    def saw(self, short_hash: str, file: Path) -> None:
        """This file has this hash; kept if something is remembered for it."""
        key, stamp = check_hash(short_hash), _stamp(file)
        content = self._content()
        if stamp is None or key not in content.checkpoints or content.seen.get(key) == stamp:
            return

        def put(content: _Content) -> None:
            if key in content.checkpoints:
                content.seen[key] = stamp

        self._change(put)

    def forget(self, short_hash: str) -> None:
        """Nothing stands there any more; also when nothing stood there."""
        key = check_hash(short_hash)

        def drop(content: _Content) -> None:
            content.checkpoints.pop(key, None)
            content.seen.pop(key, None)

        self._change(drop)

    def _change(self, change: Callable[[_Content], None]) -> None:
        """Read again, change and write under the lock file, which stays; nothing is written where nothing changed."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Failed(f"{self.path.parent}: cannot be made: {error.strerror}") from error
        with locked(self.path.with_name(self.path.name + ".lock")):
            before = self._content()
            after = _Content(dict(before.checkpoints), dict(before.seen))
            change(after)
            if after != before:
                write_text(self.path, after.to_json(), overwrite=True)

    def _content(self) -> _Content:
        """What the file holds; read again only when it is another one."""
        try:
            with self.path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
                known = self._read
                if known is not None and known[0] == stamp:
                    return known[1]
                data = stream.read(MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return _Content()
        except OSError as error:
            raise BadInput(self.path, f"a file that cannot be read ({error.strerror})", _EXPECTED) from error
        content = _parse(data, str(self.path))
        self._read = stamp, content
        return content


_EXPECTED = "what Astolfo remembers per checkpoint; mend it or move it away"


def _stamp(path: Path) -> Seen | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return path.name, status.st_size, status.st_mtime_ns


def _parse(data: bytes, where: str) -> _Content:
    if len(data) > MAX_BYTES:
        raise BadInput(where, f"more than {MAX_BYTES >> 20} MB", _EXPECTED)
    try:
        values = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInput(where, f"no JSON ({str(error)[:100]})", _EXPECTED) from error
    version = values.get("version") if isinstance(values, dict) else None
    if version != VERSION or isinstance(version, bool):
        raise BadInput(where, f"version {version!r}", f"version {VERSION}: {_EXPECTED}")
    entries, seen = values.get("checkpoints"), values.get("seen", {})
    if not isinstance(entries, dict) or not isinstance(seen, dict):
        raise BadInput(where, "no mappings under checkpoints and seen", _EXPECTED)
    content = _Content()
    for key, entry in entries.items():
        try:
            content.checkpoints[check_hash(key)] = Remembered.from_dict(entry)
        except BadInput as error:
            raise BadInput(f"{where}: {key[:40]}.{error.where}", error.found[:80], error.expected) from error
    for key, stamp in seen.items():
        if not isinstance(stamp, list) or [type(value) for value in stamp] != [str, int, int]:
            raise BadInput(f"{where}: seen.{key[:40]}", repr(stamp)[:80], "name, size and time of a file")
        content.seen[check_hash(key)] = (stamp[0], stamp[1], stamp[2])
    return content
