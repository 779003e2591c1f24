"""TensorBoard's event files, written without TensorBoard: numbers and pictures, and nothing that must be installed.

A file is a row of records: length (8 bytes, little endian), its masked CRC-32C, the bytes, their masked CRC-32C
(tensorflow/core/lib/io/record_writer.h). The bytes are a protocol buffer ``Event`` (tensorboard/compat/proto/
event.proto, summary.proto), of which these few fields are used.
"""

from __future__ import annotations

import functools
import os
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lib_astolfo.training.watch.history import finite

NAME = "events.out.tfevents"
_VERSION = b"brain.Event:2"
_MASK = 0xFFFFFFFF


class Events:
    """Event files in ``folder``, which is made at the first event. A killed process leaves a record without its end at
    most, which readers pass over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._purge: int | None = None
        self._file: Path | None = None

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One number for each tag. What is not finite is left out."""
        held = {tag: value for tag, value in values.items() if finite(float(value)) is not None}
        parts = [_bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in held.items()]
        if parts:
            self._event(_integer(2, step) + _bytes(5, b"".join(parts)))

    def picture(self, tag: str, png: bytes, size: tuple[int, int], step: int) -> None:
        """A PNG of ``size`` (width, height)."""
        image = _integer(1, size[1]) + _integer(2, size[0]) + _integer(3, 3) + _bytes(4, png)
        self._event(_integer(2, step) + _bytes(5, _bytes(1, _bytes(1, tag.encode()) + _bytes(4, image))))

    def cut(self, step: int) -> None:
        """Remove what came after ``step``. Further events go into a new file, which tells readers of it too."""
        for path in sorted(self.folder.glob(f"{NAME}.*")):
            data = path.read_bytes()
            kept = [data[start:end] for start, end, number in records(data) if number <= step]
            if sum(map(len, kept)) < len(data):
                _replace(path, b"".join(kept))
        self._file, self._purge = None, step + 1

    def _event(self, fields: bytes) -> None:
        if self._file is None:
            self._file = self._new()
        with self._file.open("ab") as handle:
            handle.write(_record(_double(1, time.time()) + fields))

    def _new(self) -> Path:
        """A file that sorts after those that are there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        there = [path.name.split(".")[3] for path in self.folder.glob(f"{NAME}.*")]
        stamp = max([int(time.time()), *(int(name) + 1 for name in there if name.isdigit())])
        path = self.folder / f"{NAME}.{stamp:010}.astolfo"
        start = _record(_double(1, time.time()) + _bytes(3, _VERSION))
        if self._purge is not None:  # SessionLog START: what has this step or a later one is void
            start += _record(_double(1, time.time()) + _integer(2, self._purge) + _bytes(7, _integer(1, 1)))
        path.write_bytes(start)
        return path


def records(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(start, end, step) of each whole record of a file."""
    start = 0
    while start + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        end = start + length + 16
        if end > len(data):
            return
        yield start, end, _step(data[start + 12 : end - 4])
        start = end


def crc32c(data: bytes) -> int:
    """The cyclic redundancy check with Castagnoli's polynomial (RFC 3720, appendix B.4)."""
    table, crc = _table(), _MASK
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ _MASK


@functools.cache
def _table() -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        return value

    return tuple(entry(index) for index in range(256))


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & _MASK)


def _record(event: bytes) -> bytes:
    length = struct.pack("<Q", len(event))
    return length + _masked(length) + event + _masked(event)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", max(-3e38, min(3e38, value)))


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _step(event: bytes) -> int:
    """The step of an event; it stands right behind the time, and 0 where there is none."""
    if len(event) < 10 or event[9] != 2 << 3:
        return 0
    value = shift = 0
    for byte in event[10:]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name("." + path.name)
    part.write_bytes(data)
    os.replace(part, path)
