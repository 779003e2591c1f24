"""A streaming writer that brings its data to the disk while the merge still runs, not all at the end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from lib_astolfo.checkpoints.reader import Buffer
from lib_astolfo.checkpoints.writer import StreamingWriter
from lib_astolfo.errors import Failed

#: Bytes after which the next flush begins.
FLUSH = 128 << 20
#: Seconds after which it begins, if anything was written.
EVERY = 10.0

#: Called before a flush; what it returns is called after it.
BeforeFlush = Callable[[], Callable[[], None]]


class FlushingWriter(StreamingWriter):
    """``StreamingWriter`` with a thread that flushes behind the writers, so that little is left for the last flush.

    Raises Failed at the end if a flush failed: the system tells an error of the disk once only.
    """

    #: Lets a journal note what was written before a flush as safe after it.
    before_flush: BeforeFlush | None = None

    @property
    def journal(self) -> Path:
        """Where a journal of the file being written belongs."""
        assert self._part is not None
        return self._part.journal

    def __enter__(self) -> FlushingWriter:
        super().__enter__()
        self._waiting = 0
        self._flushed = time.monotonic()
        self._wake = threading.Semaphore(0)
        self._ended = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._flush, name="astolfo-flush", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._wake.release()
        self._thread.join()
        if error is None and self._error is not None:
            failed = Failed(f"{self.path}: the disk failed: {self._error.strerror}")
            super().__exit__(Failed, failed, None)
            raise failed from self._error
        super().__exit__(kind, error, trace)

    def write(self, offset: int, buffer: Buffer | bytes) -> None:
        """As ``StreamingWriter.write``; wakes the flushing thread now and then."""
        super().write(offset, buffer)
        self._waiting += len(buffer) if isinstance(buffer, bytes | bytearray | memoryview) else buffer.nbytes
        if self._waiting >= FLUSH or time.monotonic() - self._flushed >= EVERY:
            self._waiting = 0
            self._flushed = time.monotonic()
            self._wake.release()

    def _flush(self) -> None:
        while True:
            self._wake.acquire()
            sync = getattr(os, "fdatasync", None)
            if sync is None and self.before_flush is not None:
                sync = os.fsync  # Windows and macOS, where it costs more: for a journal only
            if self._ended or sync is None or self._part is None:
                return
            after = self.before_flush() if self.before_flush is not None else None
            try:
                sync(self._part.fd)
            except OSError as error:
                self._error = error
                return
            if after is not None:
                after()
