"""Which VAE and which text encoders a checkpoint has: hashes of their values, which do not change with the file.

``exact`` covers names, shapes, dtypes and bytes. ``values`` covers names, shapes and the values as fp16 (rounded to
nearest even where they are stored wider), so that an fp32 file and the fp16 file made of it agree; bf16 differs. Both
are sha256 over the tensors in the order of their names within the part, so that it does not matter where in a file, or
in which kind of file, the part stands. The position ids of CLIP are left out: no host uses them as weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lib_astolfo.checkpoints.dtypes import CODES, SIZES
from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.parts import modern, parts_of
from lib_astolfo.checkpoints.reader import CheckpointFile, as_bytes
from lib_astolfo.checkpoints.values import Progress

_ELEMENTS = 1 << 19


@dataclass(frozen=True)
class Identity:
    """Hex sha256 of a part, see the module's text, and how many tensors it has."""

    exact: str
    values: str
    tensors: int

    def same_as(self, other: Identity) -> str:
        """``exact``, ``values`` or "" (another one)."""
        return "exact" if self.exact == other.exact else "values" if self.values == other.values else ""


def identities(file: CheckpointFile, family: str | None, progress: Progress | None = None) -> dict[str, Identity]:
    """Part (``vae``, ``clip_l``, …) to its identity; reads the parts once. ``family`` None: a VAE's or CLIP's own file.

    Raises Failed on I/O.
    """
    cut = parts_of(file.tensors, family)
    parts = {part: _counted(part, tensors) for part, tensors in cut.items()}
    total, done = sum(info.nbytes for tensors in parts.values() for info in tensors.values()), 0
    found = {}
    for part, tensors in parts.items():
        exact, values = hashlib.sha256(), hashlib.sha256()
        for name, info in sorted(tensors.items()):
            stored, half = _digests(file, info)
            head = f"{name}\0{','.join(map(str, info.shape))}\0".encode()
            exact.update(head + CODES[info.dtype].encode() + stored)
            values.update(head + half)
            done += info.nbytes
        found[part] = Identity(exact.hexdigest(), values.hexdigest(), len(tensors))
        if progress is not None:
            progress(done, total, f"hashing {part} of {file.path.name}")
    return found


def _counted(part: str, tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    named = {modern(name) if part == "clip_l" else name: info for name, info in tensors.items()}
    return {name: info for name, info in named.items() if not name.endswith("position_ids")}


def _digests(file: CheckpointFile, info: TensorInfo) -> tuple[bytes, bytes]:
    """sha256 of a tensor's bytes, and of its values as fp16."""
    stored, half = hashlib.sha256(), hashlib.sha256()
    size = SIZES[info.dtype]
    for first in range(0, info.elements, _ELEMENTS):
        part = torch.empty(min(_ELEMENTS, info.elements - first), dtype=info.dtype)
        file.read_into(part, info.begin + first * size)
        stored.update(as_bytes(part))
        if info.dtype != torch.float16:
            half.update(as_bytes(part.half()))
    return stored.digest(), stored.digest() if info.dtype == torch.float16 else half.digest()
