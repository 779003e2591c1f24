"""NaN and infinite values in a checkpoint, found by reading every number once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lib_astolfo.checkpoints.dtypes import SIZES
from lib_astolfo.checkpoints.reader import CheckpointFile

Progress = Callable[[int, int, str], None]

_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Values:
    """``checked``: numbers read. ``nan``, ``infinite``: tensors that hold such values, and how many."""

    checked: int
    nan: dict[str, int]
    infinite: dict[str, int]


def check(file: CheckpointFile, progress: Progress | None = None) -> Values:
    """Read all floating point tensors in parts of 4 million numbers; progress counts bytes. Raises Failed on I/O."""
    infos = [info for info in file.tensors.values() if info.dtype.is_floating_point and info.elements]
    total, done, checked = sum(info.nbytes for info in infos), 0, 0
    nan: dict[str, int] = {}
    infinite: dict[str, int] = {}
    for info in infos:
        size = SIZES[info.dtype]
        for first in range(0, info.elements, _ELEMENTS):
            part = torch.empty(min(_ELEMENTS, info.elements - first), dtype=info.dtype)
            file.read_into(part, info.begin + first * size)
            bad = _not_finite(part)
            for kind, count in zip((nan, infinite), bad, strict=True):
                if count:
                    kind[info.name] = kind.get(info.name, 0) + count
            checked += part.numel()
            done += part.numel() * size
            if progress is not None:
                progress(done, total, f"checking {file.path.name}")
    return Values(checked, nan, infinite)


def _not_finite(part: torch.Tensor) -> tuple[int, int]:
    """How many NaN and how many infinite values."""
    wide = part.float() if part.dtype.itemsize == 1 else part  # fp8 has no arithmetic of its own
    if bool(torch.isfinite(wide).all()):
        return 0, 0
    return int(torch.isnan(wide).sum()), int(torch.isinf(wide).sum())
