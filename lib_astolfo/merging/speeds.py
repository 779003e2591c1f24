"""How fast this machine reads and writes, how much memory it has, and spans of time in words."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput

#: Bytes that are written, and read of all files together, to measure the disk.
PROBE = 32 << 20


def memory_free() -> int | None:
    """Bytes that the system can give a program, None where it does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    except OSError:
        return None


def read_speed(files: Iterable[CheckpointFile]) -> float | None:
    """Bytes a second of reading the models here and there, as far as they lie in memory already included."""
    total, started = 0, time.perf_counter()
    opened = {file.identity(): file for file in files}.values()
    piece = max(1 << 20, PROBE // max(1, len(opened)) // 4)
    buffer = memoryview(bytearray(piece))
    for file in opened:
        size = file.identity()[2]
        for quarter in range(4):
            part = buffer[: min(piece, size)]
            file.read_into(part, (size - len(part)) * quarter // 4)
            total += len(part)
    seconds = time.perf_counter() - started
    return total / seconds if total else None


def write_speed(folder: Path) -> float | None:
    """Bytes a second of writing to a folder's disk, flushed; None where nothing can be written."""
    path = existing(folder) / f".astolfo-speed-{os.getpid()}-{secrets.token_hex(4)}"
    data = secrets.token_bytes(1 << 20)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return None
    try:
        started = time.perf_counter()
        for _ in range(PROBE // len(data)):
            os.write(fd, data)
        os.fsync(fd)
        return PROBE / (time.perf_counter() - started)
    except OSError:
        return None
    finally:
        os.close(fd)
        os.unlink(path)


def duration(seconds: float) -> str:
    """``8 s``, ``3 min 20 s``, ``5 h 12 min``."""
    whole = math.ceil(seconds)
    if whole < 100:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    for path in (folder, *folder.absolute().parents):
        if path.is_dir():
            return path
    raise BadInput(folder, "no such folder", "a folder to write to")
