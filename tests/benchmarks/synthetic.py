"""Checkpoints of full or smaller size with the real names, filled with noise; made at the speed of the disk."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from lib_astolfo.checkpoints.writer import StreamingWriter
from tests.keylists import full_size

#: Name of a size to what the first axis of every tensor is divided by.
SIZES = {"full": 1, "eighth": 8, "tiny": 64}
#: A size that keeps every tenth tensor as it is, the largest among them.
TENTH = "tenth"
BLOCK = 16 << 20


def shapes(
    family: str, size: str, dtype: torch.dtype = torch.float16
) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """name -> (dtype, shape) of a checkpoint whose tensors have their first axis divided; integers stay as they are."""
    listed = full_size(family, dtype=dtype)
    if size == TENTH:
        return _every_tenth(listed)
    part = SIZES[size]
    found = {}
    for name, (stored, shape) in listed.items():
        small = (max(1, shape[0] // part), *shape[1:]) if shape and stored.is_floating_point else shape
        found[name] = (stored, small)
    return found


def _every_tenth(
    listed: dict[str, tuple[torch.dtype, tuple[int, ...]]],
) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Every tenth tensor of those sorted by size, and the small ones by which a layout is known."""
    by_size = sorted(listed, key=lambda name: (-math.prod(listed[name][1]), name))
    known = [name for name in listed if name.endswith(("input_blocks.0.0.weight", "position_ids", "0.bias"))]
    return {name: listed[name] for name in sorted({*by_size[::10], *known})}


def write(path: Path, family: str, size: str, seed: int, dtype: torch.dtype = torch.float16) -> int:
    """Write a checkpoint of normal values of spread 0.02; returns its size in bytes.

    The values are one block of noise over and over, so that making 7 GB takes seconds; merges do not look at them.
    """
    tensors = shapes(family, size, dtype)
    noise = torch.randn(BLOCK, generator=torch.Generator().manual_seed(seed)).mul_(0.02).to(dtype)
    listed = [(name, stored, shape) for name, (stored, shape) in tensors.items()]
    with StreamingWriter(path, listed, {"format": "pt"}) as writer:
        for name, (stored, shape) in tensors.items():
            offset, count = writer.begin(name), math.prod(shape)
            if not stored.is_floating_point:
                writer.write(offset, torch.arange(count, dtype=stored))
                continue
            for first in range(0, count, BLOCK):
                part = noise[: min(BLOCK, count - first)]
                writer.write(offset + first * part.element_size(), part)
        return writer.size
