"""The running job as its work sees it: progress in, pause and stop out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lib_astolfo.errors import Stopped

from .estimate import Estimate
from .job import JobProgress
from .ledger import Ledger

EVERY = 0.3  # seconds between two writes of the progress
REASONS = {"stop": "stopped on request", "cancel": "cancelled on request", "shutdown": "Astolfo was shut down"}


class QueueTask:
    """Implements ``job.Task`` on the ledger. ``asked`` is "", "pause", "stop", "cancel" or "shutdown"."""

    def __init__(self, ledger: Ledger, job_id: str) -> None:
        self.job_id = job_id
        self.asked = ""
        self.noticed = False
        self._ledger = ledger
        self._estimate = Estimate()
        self._written = 0.0

    @property
    def folder(self) -> Path:
        return self._ledger.folder / self.job_id

    @property
    def cancelled(self) -> bool:
        return self.asked in REASONS

    @property
    def reason(self) -> str:
        return REASONS.get(self.asked, "")

    def progress(self, done: int, total: int, text: str = "") -> None:
        with self._ledger.condition:
            self.report(done, total, text)
            self._wait_while_paused()
            self._end_if_asked()

    def report(self, done: int, total: int, text: str = "") -> None:
        with self._ledger.condition:
            self._end_if_asked()
            self._note(int(done), int(total), str(text))

    def event(self, text: str, **data: Any) -> None:
        self._ledger.event(self.job_id, text, data)

    def _note(self, done: int, total: int, text: str) -> None:
        self._estimate.add(done, total)
        progress = JobProgress(done, total, self._ledger.clean(self.job_id, text), self._estimate.seconds_left())
        self._ledger.change(self.job_id, durable=False, progress=progress)
        if time.monotonic() - self._written >= EVERY:
            self._written = time.monotonic()
            self._ledger.write()

    def _wait_while_paused(self) -> None:
        self._estimate.pause()
        while self.asked == "pause":
            if self._ledger.peek(self.job_id).state != "paused":
                self._ledger.change(self.job_id, event="paused", state="paused", asked="")
            self._ledger.condition.wait()
        self._estimate.resume()

    def _end_if_asked(self) -> None:
        if self.cancelled:
            self.noticed = True
            raise Stopped(self.reason)
