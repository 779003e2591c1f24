"""One process owns a folder of jobs; the system frees the lock when that process ends, however it ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO, Any

FAR = 1 << 20  # Windows locks a byte and keeps others from reading it: one far behind the owner's number


def _try_lock(handle: IO[Any]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            handle.seek(FAR)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class FolderLock:
    """``folder/queue.lock``, held by an open file; its text is the number of the process that holds it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "queue.lock"
        self._handle: IO[Any] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._handle is not None

    def acquire(self, patience: float = 0.5) -> bool:
        """Take it if it is free; a reader that only looks (``free``) is waited for."""
        end = time.monotonic() + patience
        handle = self.path.open("a+b")
        while not _try_lock(handle):
            if time.monotonic() > end:
                handle.close()
                return False
            time.sleep(0.05)
        handle.truncate(0)
        handle.write(str(os.getpid()).encode())
        handle.flush()
        self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def free(self) -> bool:
        """Whether nobody holds it. The look itself holds it for an instant."""
        if self.held or not self.path.exists():
            return not self.held
        with self.path.open("r+b") as handle:
            return _try_lock(handle)

    def owner(self) -> str:
        """The number of the process that took it last, as text."""
        try:
            return self.path.read_bytes()[:20].decode("ascii", "replace") or "unknown"
        except OSError:
            return "unknown"
