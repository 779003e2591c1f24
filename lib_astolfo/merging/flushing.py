"""A streaming writer that brings its data to the disk while the merge still runs, not all at the end."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from lib_astolfo.checkpoints.reader import Buffer
from lib_astolfo.checkpoints.writer import StreamingWriter
from lib_astolfo.errors import Failed

#: Bytes after which the next flush begins.
FLUSH = 128 << 20


class FlushingWriter(StreamingWriter):
    """``StreamingWriter`` with a thread that flushes behind the writers, so that little is left for the last flush.

    Raises Failed at the end if a flush failed: the system tells an error of the disk once only.
    """

    def __enter__(self) -> FlushingWriter:
        super().__enter__()
        self._waiting = 0
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
        if self._waiting >= FLUSH:
            self._waiting = 0
            self._wake.release()

    def _flush(self) -> None:
        sync = getattr(os, "fdatasync", None)  # not on Windows and macOS, where the last flush does it all
        while True:
            self._wake.acquire()
            if self._ended or sync is None or self._part is None:
                return
            try:
                sync(self._part.fd)
            except OSError as error:
                self._error = error
                return
