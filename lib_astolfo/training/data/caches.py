"""Tensors on disk by what they were made from: a safetensors file per key, checked when read, made anew when broken.

The key is everything that the content depends on, so nothing goes stale: another VAE or crop is another file. Files
are written at once or not at all. A cache can be lost: a full disk costs speed and is told, but stops no training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from lib_astolfo.checkpoints.reader import CheckpointFile, as_bytes
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.errors import AstolfoError, BadInput, Failed

Value: TypeAlias = str | int | float | bool | list[int]
CacheKey: TypeAlias = Mapping[str, Value]
Tensors: TypeAlias = dict[str, Tensor]
#: Makes the tensors of the key with this number.
Make: TypeAlias = Callable[[int], Mapping[str, Tensor]]
_FORMAT = "1"


@dataclass
class Counts:
    """What a cache did: ``read`` from disk, ``made``, of these ``mended`` because the file was broken, and ``unsaved``
    because it could not be written, with the last ``problem`` in words."""

    read: int = 0
    made: int = 0
    mended: int = 0
    unsaved: int = 0
    problem: str = ""


class Cache:
    """One folder of tensors; safe for several processes, which at worst make the same file twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts = Counts()

    def path(self, key: CacheKey) -> Path:
        """Where the tensors of a key lie."""
        name = hashlib.sha256(_spelled(key).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def read(self, key: CacheKey) -> Tensors | None:
        """The tensors of a key, or None if there are none, or none that are sound (the file is then removed)."""
        path = self.path(key)
        if not path.exists():
            return None
        try:
            return _load(path)
        except (AstolfoError, OSError):
            self.counts.mended += 1
            with suppress(OSError):
                path.unlink()
            return None

    def write(self, key: CacheKey, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors of a key. What cannot be written is counted, not raised."""
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            metadata = {"cache": _FORMAT, "key": _spelled(key), "sha256": _digest(tensors)}
            save(path, tensors, metadata, overwrite=True)
        except (AstolfoError, OSError) as error:
            self.counts.unsaved += 1
            self.counts.problem = str(error)

    def fetch(self, keys: Sequence[CacheKey], make: Make) -> list[Tensors]:
        """The tensors of all keys, in their order. Those that are not there are made one by one and kept, so that what
        one is does not depend on which others were there.

        Raises Failed if what is made is not finite.
        """
        found: dict[str, Tensors] = {}
        for number, key in enumerate(keys):
            name = _spelled(key)
            if name in found:
                continue
            kept = self.read(key)
            if kept is None:
                kept = _finite(make(number), key)
                self.write(key, kept)
                self.counts.made += 1
            else:
                self.counts.read += 1
            found[name] = kept
        return [found[_spelled(key)] for key in keys]

    def check(self) -> list[Path]:
        """Read every file, remove those that are broken, and name them."""
        broken = []
        for path in sorted(self.folder.glob("*/*.safetensors")):
            try:
                _load(path)
            except (AstolfoError, OSError):
                broken.append(path)
                with suppress(OSError):
                    path.unlink()
        return broken


def _load(path: Path) -> Tensors:
    """The tensors of a file, in memory of their own. Raises BadInput if it is not what its name and header say."""
    with CheckpointFile.open(path) as file:
        said = dict(file.metadata)
        tensors = {name: file.tensor(name).clone() for name in file.tensors}
    key = hashlib.sha256(said.get("key", "").encode()).hexdigest()
    if said.get("cache") != _FORMAT or key != path.stem or said.get("sha256") != _digest(tensors):
        raise BadInput(path, "content that changed", "what was written under this name")
    return tensors


def _spelled(key: CacheKey) -> str:
    return json.dumps(dict(key), sort_keys=True, ensure_ascii=True, allow_nan=False)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(as_bytes(tensor.detach().to("cpu").contiguous()))
    return digest.hexdigest()


def _finite(tensors: Mapping[str, Tensor], key: CacheKey) -> Tensors:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Failed(f"{_spelled(key)}: the encoder gave {name} with values that are not finite")
    return {name: tensor.detach().to("cpu").clone() for name, tensor in tensors.items()}
