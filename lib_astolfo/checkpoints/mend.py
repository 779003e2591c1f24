"""A checkpoint written anew from pieces of files: kept, renamed, dropped, replaced, converted; streamed and atomic."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lib_astolfo.checkpoints.dtypes import CODES, SIZES
from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.values import Magnitudes
from lib_astolfo.checkpoints.writer import StreamingWriter
from lib_astolfo.errors import BadInput, Failed

Progress = Callable[[int, int, str], None]

_BYTES = 4 << 20  # of a plain copy's parts
_ELEMENTS = 1 << 18  # of a part that is converted or mended
_STEP = 32 << 20


@dataclass(frozen=True)
class Piece:
    """One tensor of the file to write: ``info`` of ``file``, or ``value``.

    ``dtype``: in which it is written. ``donor``: where its values come from that are not finite (same shape);
    ``checked``: whether values that remain so are an error.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    file: CheckpointFile | None = None
    info: TensorInfo | None = None
    value: Tensor | None = None
    donor: tuple[CheckpointFile, TensorInfo] | None = None
    checked: bool = False

    @staticmethod
    def of(file: CheckpointFile, info: TensorInfo) -> Piece:
        """A tensor as it is stored."""
        return Piece(info.dtype, info.shape, file, info)

    @staticmethod
    def made(value: Tensor) -> Piece:
        """A small tensor in memory."""
        return Piece(value.dtype, tuple(value.shape), value=value)

    @property
    def nbytes(self) -> int:
        return (self.info.elements if self.info is not None else self.value_or_fail().numel()) * SIZES[self.dtype]

    @property
    def raw(self) -> bool:
        """Whether the stored bytes are written as they are."""
        return self.info is not None and self.info.dtype == self.dtype and not self.checked

    def value_or_fail(self) -> Tensor:
        """The tensor in memory."""
        if self.value is None:
            raise ValueError("a piece without a source")
        return self.value

    def into(self, dtype: torch.dtype) -> Piece:
        """The same in another dtype."""
        return replace(self, dtype=dtype, value=None if self.value is None else self.value.to(dtype))


Pieces = dict[str, Piece]


def write(
    pieces: Mapping[str, Piece],
    target: Path,
    metadata: Mapping[str, str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write the pieces; returns how many values were taken from donors, by name.

    Progress counts bytes; what it raises ends the work and leaves nothing.

    Raises:
        BadInput: the target is one of the files that are read, or must not be written.
        Failed: the disk is full, a file was written to meanwhile, a value does not fit into the new dtype, or one is
            not finite and there is no finite one to take.
    """
    files = {piece.file for piece in pieces.values() if piece.file is not None}
    files |= {piece.donor[0] for piece in pieces.values() if piece.donor is not None}
    for file in files:
        if target.exists() and os.path.samefile(target, file.path):
            raise BadInput("output", f"{target.name}, which is read", "another name: the old file is kept")
    listed = [(name, piece.dtype, piece.shape) for name, piece in pieces.items()]
    total, taken = sum(piece.nbytes for piece in pieces.values()), dict[str, int]()
    with StreamingWriter(target, listed, metadata, overwrite=overwrite) as writer:
        copier = _Copier(writer, total, progress)
        for name, piece in sorted(pieces.items(), key=lambda item: writer.begin(item[0])):
            count = copier.put(name, piece)
            if count:
                taken[name] = count
        for file in files:
            if file.changed():
                raise Failed(f"{file.path}: was written to or replaced while it was read; no file was made")
    return taken


class _Copier:
    """Puts one piece after the other into the file."""

    def __init__(self, writer: StreamingWriter, total: int, progress: Progress | None) -> None:
        self._writer, self._total, self._progress = writer, total, progress
        self._buffer = memoryview(bytearray(min(_BYTES, max(1, total))))
        self._stored, self._made = (torch.empty(_ELEMENTS * 8, dtype=torch.uint8) for _ in range(2))
        self._magnitudes = Magnitudes(_ELEMENTS)
        self._done = self._told = 0

    def put(self, name: str, piece: Piece) -> int:
        """Write a piece; the number of values taken from its donor."""
        begin = self._writer.begin(name)
        if piece.info is None or piece.file is None:
            value = piece.value_or_fail()
            if value.numel():
                self._write(begin, value.contiguous())
            return 0
        if not piece.raw:
            return self._converted(name, piece, piece.file, piece.info)
        for offset in range(0, piece.info.nbytes, len(self._buffer)):
            part = self._buffer[: min(len(self._buffer), piece.info.nbytes - offset)]
            piece.file.read_into(part, piece.info.begin + offset)
            self._write(begin + offset, part)
        return 0

    def _converted(self, name: str, piece: Piece, file: CheckpointFile, info: TensorInfo) -> int:
        taken, begin = 0, self._writer.begin(name)
        for first in range(0, info.elements, _ELEMENTS):
            part = self._stored[: min(_ELEMENTS, info.elements - first) * SIZES[info.dtype]].view(info.dtype)
            file.read_into(part, info.begin + first * SIZES[info.dtype])
            count = self._not_finite(part)
            if piece.checked and count:
                part, taken = _patched(name, piece, part, first), taken + count
            out = part
            if part.dtype != piece.dtype:
                out = self._made[: part.numel() * SIZES[piece.dtype]].view(piece.dtype).copy_(part)
                if self._not_finite(out) > (0 if piece.checked else count):
                    raise Failed(f"{name}: a value is too large for {CODES[piece.dtype]}; keep it in a wider dtype")
            self._write(begin + first * SIZES[piece.dtype], out)
        return taken

    def _not_finite(self, part: Tensor) -> int:
        """How many values are NaN or infinite; a look at the exponents tells that there are none."""
        if math.isfinite(self._magnitudes.largest(part)):
            return 0
        return int((~_finite(part)).sum())

    def _write(self, offset: int, data: Tensor | memoryview) -> None:
        self._writer.write(offset, data)
        self._done += data.nbytes
        if self._progress is not None and (self._done - self._told >= _STEP or self._done == self._total):
            self._progress(self._done, self._total, f"writing {self._writer.path.name}")
            self._told = self._done


def _finite(part: Tensor) -> Tensor:
    return (part if part.dtype.itemsize > 1 else part.float()).isfinite()


def _patched(name: str, piece: Piece, part: Tensor, first: int) -> Tensor:
    """The part with the donor's values where its own are not finite."""
    if piece.donor is None:
        raise Failed(f"{name}: values that are not finite, and the other file has no such tensor")
    file, info = piece.donor
    other, bad = torch.empty(part.numel(), dtype=info.dtype), ~_finite(part)
    file.read_into(other, info.begin + first * SIZES[info.dtype])
    if int((~_finite(other))[bad].sum()):
        raise Failed(f"{name}: values that are not finite in {file.path.name} either")
    wide = torch.float64 if torch.float64 in (part.dtype, other.dtype) else torch.float32
    return torch.where(bad, other.to(wide), part.to(wide))
