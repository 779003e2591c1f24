"""What a merge has finished, kept beside its temporary file, so that the same merge can go on after a crash.

The journal is text, one JSON object a line, only ever added to: first what the merge is (the header of its output, its
inputs by size, time and inode, the program), then figures of the whole model if the recipe needs any, then, after each
flush of the output, up to which byte everything is on the disk. A line that is torn is left out. The file goes with the
temporary file, when that is complete or discarded.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints.files import PartFile, parts_with_journal
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.merging.figures import ModelFigures

#: Changes when the same recipe gives other bytes, or the journal another form.
VERSION = 1
_TEXTS = {
    "program": "it was begun by another version of the program or on another device",
    "output": "it was another recipe, or other tensors",
}


def identity(header: bytes, files: Mapping[str, CheckpointFile], device: str) -> dict[str, Any]:
    """What must be the same for a merge to go on: plain values. Inputs by inode, size and time; a device's number can
    be another after the machine was started anew."""
    return {
        "program": [VERSION, torch.__version__, device],
        "output": hashlib.sha256(header).hexdigest(),
        "inputs": {name: list(file.identity()[1:]) for name, file in files.items()},
    }


@dataclass(frozen=True)
class Progress:
    """How far a merge came: every byte before ``done`` is on the disk."""

    done: int = 0
    replaced: Mapping[str, int] = field(default_factory=dict)
    figures: ModelFigures = field(default_factory=dict)


@dataclass(frozen=True)
class Taken:
    """A temporary file to go on with, or why there is none ("" if nothing was left)."""

    part: PartFile | None = None
    progress: Progress = Progress()
    reason: str = ""


def take(output: Path, wanted: Mapping[str, Any], header: bytes, size: int, overwrite: bool) -> Taken:
    """Look for what a crash left of the merge ``wanted`` to ``output``, and lock it."""
    reason = ""
    for path in parts_with_journal(output):
        part = PartFile.adopt(output, path, overwrite)
        if part is None:
            continue
        found, progress = read(part.journal)
        reason = _difference(found, wanted)
        if not reason and (os.fstat(part.fd).st_size != size or _head(part.fd, len(header)) != header):
            reason = "what it left is damaged"
        if not reason and progress.done <= len(header):
            reason = "it had not come far"
        if not reason:
            return Taken(part, progress)
        part.discard()
    return Taken(reason=reason)


def read(path: Path) -> tuple[dict[str, Any], Progress]:
    """A journal's identity and progress; empty if it cannot be read."""
    found: dict[str, Any] = {}
    done, replaced, figures = 0, {}, {}
    for number, entry in enumerate(_entries(path)):
        if number == 0:
            found = entry
        elif "figures" in entry:
            figures = {(node, index): _tensor(*rest) for node, index, *rest in entry["figures"]}
        else:
            done, replaced = int(entry["done"]), dict(entry["replaced"])
    return found, Progress(done, replaced, figures)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; none if the first is damaged."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return
    for number, line in enumerate(lines):
        try:
            yield json.loads(line)
        except ValueError:
            if number == 0:
                return


class Journal:
    """Writes one. Every line is one write, so that only the last one can be torn."""

    def __init__(self, path: Path, wanted: Mapping[str, Any] | None) -> None:
        """``wanted``: the merge's identity for a new journal, None to add to one."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._fd = os.open(path, flags | (os.O_TRUNC if wanted is not None else 0), 0o666)
        if wanted is not None:
            self._add(dict(wanted))
        else:
            os.write(self._fd, b"\n")  # ends a torn line

    def figures(self, figures: ModelFigures) -> None:
        """Keep the figures of the whole model."""
        self._add({"figures": [[node, index, *_text(value)] for (node, index), value in figures.items()]})

    def done(self, offset: int, replaced: Mapping[str, int]) -> None:
        """Say that everything before a byte of the output has been flushed; call it after that."""
        self._add({"done": offset, "replaced": dict(replaced)})

    def close(self) -> None:
        """Stop writing; the file stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _add(self, entry: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a journal that cannot be written costs the resume, not the merge
            os.write(self._fd, json.dumps(entry).encode() + b"\n")


class Tracker:
    """Which pieces of the output have been written, in any order, and up to where all of them are."""

    def __init__(self, ends: Sequence[int], progress: Progress, begin: int) -> None:
        """``ends``: the byte behind each piece, ascending; ``begin``: where the first one starts."""
        self._ends = ends
        self._next = 0
        self._early: dict[int, Mapping[str, int]] = {}
        self._offset = max(progress.done, begin)
        self._replaced = dict(progress.replaced)
        self._lock = threading.Lock()

    def finish(self, number: int, replaced: Mapping[str, int]) -> None:
        """A piece is written; ``replaced`` values of it are A's."""
        with self._lock:
            self._early[number] = dict(replaced)
            while self._next in self._early:
                for name, count in self._early.pop(self._next).items():
                    self._replaced[name] = self._replaced.get(name, 0) + count
                self._offset = self._ends[self._next]
                self._next += 1

    def state(self) -> tuple[int, dict[str, int]]:
        """Everything before this byte is written; values that are A's by then, by key."""
        with self._lock:
            return self._offset, dict(self._replaced)


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    if not found:
        return "its journal cannot be read"
    for name, text in _TEXTS.items():
        if found.get(name) != wanted[name]:
            return text
    inputs = found.get("inputs", {})
    changed = [name for name, one in wanted["inputs"].items() if inputs.get(name) != one]
    return f"{', '.join(changed)} has changed since" if changed else ""


def _head(fd: int, count: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, count)


def _text(value: Tensor) -> tuple[str, list[int], str]:
    data = value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return str(value.dtype).removeprefix("torch."), list(value.shape), base64.b64encode(data).decode()


def _tensor(dtype: str, shape: list[int], text: str) -> Tensor:
    data = bytearray(base64.b64decode(text))
    return torch.frombuffer(data, dtype=getattr(torch, dtype)).reshape(shape)
