"""The list of jobs for a process that does not run them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lib_astolfo.errors import Failed, Unknown

from . import files
from .job import Event, Job
from .journal import Journal
from .lock import FolderLock
from .recovery import dead

T = TypeVar("T")


class Reader:
    """Reads the journal only; what nobody runs any more is shown as what it is."""

    def __init__(self, folder: Path, lock: FolderLock) -> None:
        self.folder = folder
        self._lock = lock
        self._path = folder / "jobs.sqlite"

    def _with(self, use: Callable[[Journal], T], nothing: T) -> T:
        if not self._path.exists():
            return nothing
        try:
            journal = Journal(self._path, read_only=True)
            try:
                return nothing if journal.empty else use(journal)
            finally:
                journal.close()
        except sqlite3.Error as error:
            raise Failed(f"{self._path}: the list of jobs cannot be read ({error})") from error

    def _true(self, job: Job) -> Job:
        if job.over or job.started is None:
            return job
        if self._lock.free():
            job = dead(job, job.started)
        return job.but(files=files.listing(self.folder / job.id))

    def get(self, job_id: str) -> Job:
        return self._true(self.peek(job_id))

    def peek(self, job_id: str) -> Job:
        """As it was written down."""
        job = self._with(lambda journal: journal.get(job_id), None)
        if job is None:
            raise Unknown("job", repr(job_id), "the id of a job in the list")
        return job

    def newest(self, limit: int) -> list[Job]:
        none: list[Job] = []
        return [self._true(job) for job in self._with(lambda journal: journal.newest(limit), none)]

    def events(self, job_id: str, after: int, limit: int) -> tuple[Event, ...]:
        self.peek(job_id)
        return self._with(lambda journal: journal.events(job_id, after, limit), ())
