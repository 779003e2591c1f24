"""A job in the foreground: progress bars on stderr, Ctrl-C ends the work at its next step."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lib_astolfo.errors import Stopped


class TerminalTask:
    """Implements ``jobs.Task`` on a terminal. ``folder`` is made when somebody asks for it."""

    def __init__(self, command: str, outputs: Path) -> None:
        self.job_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{command}"
        self.cancelled = False
        self._folder = outputs / self.job_id
        self._bar: Any = None

    @property
    def folder(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    @property
    def asked(self) -> str:
        """The terminal knows no pause."""
        return "stop" if self.cancelled else ""

    def progress(self, done: int, total: int, text: str = "") -> None:
        self.report(done, total, text)

    def report(self, done: int, total: int, text: str = "") -> None:
        if self.cancelled:
            raise Stopped("stopped")
        self._draw(done, total, text)

    def _draw(self, done: int, total: int, text: str) -> None:
        from tqdm import tqdm

        if self._bar is None or self._bar.total != total or done < self._bar.n:
            self.close()
            large = total >= 10**6  # bytes
            self._bar = tqdm(total=total, file=sys.stderr, unit="B" if large else "", unit_scale=large, mininterval=0.2)
        self._bar.set_description_str(text[:60], refresh=False)
        self._bar.update(done - self._bar.n)

    def event(self, text: str, **data: Any) -> None:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C or a polite kill asks the work to end; the second one interrupts it where it is.

        A launcher of several processes passes Ctrl-C on as a polite kill, which is no second one.
        """
        given: set[int] = set()

        def ask(number: int, frame: FrameType | None) -> None:
            if number in given:
                raise KeyboardInterrupt
            given.add(number)
            if not self.cancelled:
                self.cancelled = True
                print("\nstopping (once more: at once)", file=sys.stderr)

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            self.close()
            for number, handler in before.items():
                signal.signal(number, handler)
