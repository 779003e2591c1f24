"""Every number of a checkpoint read once: NaN and infinite values, the largest, the size of each tensor's values.

Memory is bounded by a few buffers that are used again. The exponent bits tell whether a part is finite and, being in
the order of the magnitudes, what its largest value is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_astolfo.checkpoints.dtypes import SIZES
from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.reader import CheckpointFile

Progress = Callable[[int, int, str], None]

_ELEMENTS = 1 << 18  # of a part: its buffers stay in the processor's cache
_STEP = 32 << 20  # bytes between two calls of the progress callback

#: dtype to the integer dtype of its bits, and the mask of all but the sign: larger bits are larger magnitudes
_BITS = {
    torch.float16: (torch.int16, 0x7FFF),
    torch.bfloat16: (torch.int16, 0x7FFF),
    torch.float32: (torch.int32, 0x7FFFFFFF),
    torch.float64: (torch.int64, 0x7FFFFFFFFFFFFFFF),
}


@dataclass(frozen=True)
class Figures:
    """One tensor: ``largest`` magnitude and root mean square ``rms`` (to about 1e-4) of its finite values."""

    elements: int
    nan: int
    infinite: int
    largest: float
    rms: float


@dataclass(frozen=True)
class Values:
    """``checked``: numbers read. ``tensors``: figures of every tensor of a floating point dtype that is not empty."""

    checked: int
    tensors: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def nan(self) -> dict[str, int]:
        """Tensors that hold NaN, and how many."""
        return {name: figures.nan for name, figures in self.tensors.items() if figures.nan}

    @property
    def infinite(self) -> dict[str, int]:
        """Tensors that hold infinite values, and how many."""
        return {name: figures.infinite for name, figures in self.tensors.items() if figures.infinite}


def check(file: CheckpointFile, progress: Progress | None = None) -> Values:
    """Read all floating point tensors in parts; progress counts bytes, and may raise to stop. Raises Failed on I/O."""
    infos = [info for info in file.tensors.values() if info.dtype.is_floating_point and info.elements]
    total, done, told = sum(info.nbytes for info in infos), 0, 0
    scanner, found = _Scanner(), dict[str, Figures]()
    for info in infos:
        found[info.name] = scanner.figures(file, info)
        done += info.nbytes
        if progress is not None and (done - told >= _STEP or done == total):
            progress(done, total, f"checking {file.path.name}")
            told = done
    return Values(sum(info.elements for info in infos), found)


class Magnitudes:
    """The largest magnitude of parts of up to ``elements`` values, without fresh memory for each."""

    def __init__(self, elements: int) -> None:
        self._bits = torch.empty(elements * 8, dtype=torch.uint8)

    def largest(self, part: Tensor) -> float:
        """Inf or NaN if there is one. ``part``: contiguous, of any floating point dtype, not empty."""
        if part.dtype not in _BITS:  # fp8 has no arithmetic of its own
            part = part.float()
        integer, magnitude = _BITS[part.dtype]
        bits = self._bits[: part.numel() * SIZES[part.dtype]].view(integer)
        torch.bitwise_and(part.reshape(-1).view(integer), magnitude, out=bits)
        return float(bits.amax().view(part.dtype))


class _Scanner:
    """Figures of one tensor after the other, in the same buffers."""

    def __init__(self) -> None:
        self._raw = torch.empty(_ELEMENTS * 8, dtype=torch.uint8)
        self._wide = torch.empty(_ELEMENTS)
        self._magnitudes = Magnitudes(_ELEMENTS)

    def figures(self, file: CheckpointFile, info: TensorInfo) -> Figures:
        size = SIZES[info.dtype]
        nan = infinite = 0
        largest = squares = 0.0
        for first in range(0, info.elements, _ELEMENTS):
            part = self._raw[: min(_ELEMENTS, info.elements - first) * size].view(info.dtype)
            file.read_into(part, info.begin + first * size)
            wide = part if info.dtype == torch.float64 else self._wide[: part.numel()].copy_(part)
            top = self._magnitudes.largest(part)
            if not math.isfinite(top):
                nan, infinite = nan + int(wide.isnan().sum()), infinite + int(wide.isinf().sum())
                wide = wide.double().nan_to_num(0.0, 0.0, 0.0)
                top = float(wide.abs().amax())
            largest = max(largest, top)
            squares += self._squares(wide)
        rms = math.sqrt(squares / max(1, info.elements - nan - infinite))
        return Figures(info.elements, nan, infinite, largest, rms)

    @staticmethod
    def _squares(wide: Tensor) -> float:
        total = float(torch.dot(wide, wide))
        return total if math.isfinite(total) else float(torch.dot(wide.double(), wide.double()))
