"""What is known of the jobs of one folder: the living ones in memory, all of them in the journal."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

from lib_astolfo.errors import Failed, Over, Unknown

from . import files
from .job import Event, Job
from .journal import Journal
from .plain import blotted, plain, without

TEXT_LIMIT = 20_000  # characters of one event or error


class Ledger:
    """Changes go to memory first, then to the journal; if the disk refuses, the next change writes them again.

    ``condition`` guards everything here and is notified at every change.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.condition = threading.Condition(threading.RLock())
        self.journal = Journal(folder / "jobs.sqlite")
        self.secrets: dict[str, set[str]] = {}
        self._living: dict[str, Job] = {}
        self._unwritten: dict[str, list[str]] = {}  # id -> what is to be said of its changes
        self._closed = False

    def close(self) -> None:
        """Nothing is written from here on, not even by work that has not noticed."""
        with self.condition:
            self._flush()
            self._closed = True
            self.journal.close()

    def add(self, job: Job, secrets: set[str]) -> None:
        """Errors: Failed when the journal cannot be written; the job then does not exist."""
        with self.condition:
            try:
                self.journal.add(job, needs_secret=bool(secrets))
            except sqlite3.Error as error:
                raise Failed(f"{self.journal.path}: the job could not be written down ({error})") from error
            self.take_up(job)
            self.secrets[job.id] = secrets

    def take_up(self, job: Job) -> None:
        """A job of the journal that is not over lives in memory."""
        with self.condition:
            self._living[job.id] = job
            self.condition.notify_all()

    def change(self, job_id: str, *, durable: bool = True, event: str = "", **changes: Any) -> Job:
        """``event``: what is said of it, written together with it."""
        with self.condition:
            job = self._living[job_id].but(**changes)
            if "error" in changes:
                job = job.but(error=self.clean(job_id, job.error))
            return self.put(job, durable=durable, event=event)

    def put(self, job: Job, *, durable: bool = True, event: str = "") -> Job:
        """This is how the job now is."""
        with self.condition:
            self._living[job.id] = job
            said = self._unwritten.setdefault(job.id, [])
            if event:
                said.append(self.clean(job.id, event))
            if durable:
                self._flush()
            self.condition.notify_all()
            return job

    def write(self) -> None:
        """Bring the journal up to date without forcing it to the disk: progress."""
        with self.condition:
            self._flush(durable=False)

    def _flush(self, durable: bool = True) -> None:
        if self._closed:
            return
        for job_id, said in list(self._unwritten.items()):
            job = self._living[job_id]
            try:
                self.journal.change(job, durable=durable or job.over, events=said)
            except sqlite3.Error:
                return  # a full disk: memory stays right, the next change tries again
            del self._unwritten[job_id]
            if job.over:
                del self._living[job_id]
                self.secrets.pop(job_id, None)

    def event(self, job_id: str, text: str, data: dict[str, Any]) -> None:
        with self.condition:
            if self._closed:
                return
            values = blotted(plain(data), self.secrets.get(job_id, set()))
            try:
                self.journal.event(job_id, self.clean(job_id, text), values)
            except sqlite3.Error:
                return
            self.condition.notify_all()

    def clean(self, job_id: str, text: str) -> str:
        text = without(text.encode("utf-8", "replace").decode("utf-8"), self.secrets.get(job_id, set()))
        return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + " …"

    def living(self, job_id: str) -> Job:
        """A job that is not over. Errors: BadInput."""
        job = self.peek(job_id)
        if job.over:
            raise Over(f"job {job_id}", f"it is {job.state} already", "a job that is queued, running or paused")
        return job

    def get(self, job_id: str) -> Job:
        """Errors: BadInput for an unknown id."""
        return self._with_files(self.peek(job_id))

    def peek(self, job_id: str) -> Job:
        """``get`` without a look at its files."""
        with self.condition:
            job = self._living.get(job_id) or (None if self._closed else self.journal.get(job_id))
        if job is None:
            raise Unknown("job", repr(job_id), "the id of a job in the list")
        return job

    def newest(self, limit: int) -> list[Job]:
        with self.condition:
            if self._closed:
                return list(reversed(self._living.values()))
            return [self._with_files(self._living.get(job.id, job)) for job in self.journal.newest(limit)]

    def _with_files(self, job: Job) -> Job:
        """A running job's files are those that lie there now."""
        if job.over or job.started is None:
            return job
        return job.but(files=files.listing(self.folder / job.id))

    def events(self, job_id: str, after: int, limit: int) -> tuple[Event, ...]:
        self.peek(job_id)
        return self.journal.events(job_id, after, limit)
