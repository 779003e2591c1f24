"""A lock between threads and processes on a small file; the system frees it when its holder ends, however it ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lib_astolfo.errors import Failed

STEP = 0.02  # seconds between two tries


@contextmanager
def locked(path: Path, patience: float = 10.0) -> Iterator[None]:
    """Hold the lock file ``path``, which is made and stays; waited for at most ``patience`` seconds.

    Errors: Failed when somebody else keeps it, or the file cannot be made.
    """
    try:
        handle = path.open("a+b")
    except OSError as error:
        raise Failed(f"{path}: cannot be locked: {error.strerror}") from error
    with handle:
        end = time.monotonic() + patience
        while not _take(handle):
            if time.monotonic() > end:
                raise Failed(f"{path}: another process has held it for {patience:g} s")
            time.sleep(STEP)
        yield


def _take(handle: IO[Any]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # Windows says the second
        return False
    except OSError:  # a file system without locks
        return True
    return True
