"""The folder of a run's states. At any moment, whatever is killed, the last one is complete and can be verified.

A state is a folder ``step-00000040``. It is written as ``step-00000040.tmp``: files, each flushed, then the manifest,
then the folder takes its name and its parent is flushed; then the file ``latest`` is replaced; only then are old states
removed, each renamed to ``….tmp`` first. What ends in ``.tmp`` is never read, and goes with the next save, as do old
states whose removal was cut short.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints import files, writer
from lib_astolfo.checkpoints.locks import locked
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import AstolfoError, BadInput, Failed
from lib_astolfo.training.checkpointing import manifest

LATEST = "latest"
LOCK = ".lock"
TMP = ".tmp"
VALUES = "values.json"
_NAME = re.compile(r"step-[0-9]{8,}(-[0-9]+)?")
_PART = re.compile(r"[a-z0-9_-]{1,60}")


@dataclass(frozen=True)
class State:
    """A verified state. ``tensors``: part (``weights``, ``optimiser``, ``ema``, …) -> name -> tensor, in memory.
    ``values``: what was given for JSON. ``passed_over``: newer states that were not whole, and why, for people."""

    folder: Path
    step: int
    tensors: dict[str, dict[str, Tensor]]
    values: dict[str, Any]
    passed_over: tuple[str, ...] = ()


class Store:
    """States of one run in ``folder``, which is made; the newest ``keep`` of them are kept, 2 or more, so that one is
    left if the disk damages another."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        if keep < 2:
            raise BadInput("keep", keep, "2 or more states")
        self.folder, self.keep = Path(folder), keep

    def save(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, Any]) -> Path:
        """Write a state and return its folder, when it is on the disk.

        Raises BadInput for a part's name that is no file name, Failed for values that are not finite and for a disk
        that is full; then the states from before are as they were.
        """
        for part in tensors:
            if not _PART.fullmatch(part):
                raise BadInput("part", repr(part), "small letters, digits, - and _")
        _check_finite(tensors)
        text = json.dumps(dict(values), allow_nan=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / LOCK):
                self._tidy(self._named())
                target = self._free_name(step)
                self._write(target, step, tensors, text)
                files.write_text(self.folder / LATEST, target.name + "\n", overwrite=True)
                self._tidy(target.name)
        except OSError as error:
            raise Failed(f"{self.folder}: the state of step {step} cannot be saved: {error.strerror}") from error
        return target

    def _write(self, target: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], text: str) -> None:
        part = target.with_name(target.name + TMP)
        part.mkdir()
        try:
            for name, held in tensors.items():
                writer.save(part / f"{name}.safetensors", held)
            files.write_text(part / VALUES, text)
            manifest.write(part, step, self._serial())
            files.flush_folder(part)
            os.rename(part, target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        files.flush_folder(self.folder)

    def load(self, before: int | None = None) -> State | None:
        """The state that ``latest`` names, or the newest before it that is whole; None if there never was any.

        ``before``: of those whose step is not above it, None if there is none.
        Raises BadInput if there are states, but none is whole.
        """
        why: list[str] = []
        for folder in self._order():
            if before is not None and _step_of(folder) > before:
                continue
            try:
                return self._read(folder, why)
            except AstolfoError as error:
                why.append(str(error))
        if why:
            raise BadInput(self.folder, "no state that is whole: " + "; ".join(why), "one at least")
        return None

    def _read(self, folder: Path, why: list[str]) -> State:
        found = manifest.verify(folder)
        tensors: dict[str, dict[str, Tensor]] = {}
        for name in found.files:
            if name.endswith(".safetensors"):
                with CheckpointFile.open(folder / name) as file:
                    tensors[name.removesuffix(".safetensors")] = {key: file.tensor(key).clone() for key in file.tensors}
        values = json.loads((folder / VALUES).read_text("utf-8"))
        return State(folder, found.step, tensors, values, tuple(why))

    def _states(self) -> list[Path]:
        """Folders that have the name of a state, the last saved first; those without a manifest last."""
        with contextlib.suppress(FileNotFoundError):
            found = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
            return sorted(found, key=lambda path: (_serial_of(path), path.name), reverse=True)
        return []

    def _order(self) -> Iterator[Path]:
        """``latest``, then the others. A ``latest`` that is gone or damaged is no hindrance."""
        named = self._named()
        yield from sorted(self._states(), key=lambda path: path.name != named)

    def _named(self) -> str:
        """What ``latest`` says, "" where it says nothing."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (self.folder / LATEST).read_text("utf-8").strip()
        return ""

    def _serial(self) -> int:
        return 1 + max((_serial_of(path) for path in self._states()), default=0)

    def _free_name(self, step: int) -> Path:
        """``step-…``; with a number if a run that was rolled back saves the step again."""
        path, number = self.folder / f"step-{step:08}", 1
        while os.path.lexists(path):
            number += 1
            path = self.folder / f"step-{step:08}-{number}"
        return path

    def _tidy(self, named: str) -> None:
        """Remove what killed savers left, and the oldest states but for the one that ``latest`` names."""
        states = self._states()
        others = [path for path in states if path.name != named]
        for path in others[self.keep - (len(others) < len(states)) :]:
            with contextlib.suppress(OSError):  # an old state too much does no harm
                os.rename(path, path.with_name(path.name + TMP))
        for path in self.folder.glob(f"*{TMP}"):
            shutil.rmtree(path, ignore_errors=True)


def _serial_of(folder: Path) -> int:
    try:
        return manifest.read(folder).serial
    except BadInput:
        return -1


def _step_of(folder: Path) -> int:
    return int(folder.name.split("-")[1])


def _check_finite(tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    for part, held in tensors.items():
        for name, tensor in held.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise Failed(f"{part}: {name} holds values that are not finite; nothing was saved")
