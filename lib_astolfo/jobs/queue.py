"""The queue as everybody else sees it: submit, look, pause, stop."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lib_astolfo.errors import BadInput, Failed

from . import files
from .crew import Crew, Lane, one_lane
from .job import Event, Job, Runner
from .ledger import Ledger
from .lock import FolderLock
from .plain import hide, plain
from .reader import Reader
from .recovery import recover
from .worker import Worker

LIST_LIMIT = 1000
LARGEST = 2**63 - 1  # that sqlite counts to


class JobQueue:
    """Jobs of one folder, run by a thread per lane. ``start`` takes the folder; before it the list can only be read.

    ``lane_of``: see ``crew.Crew``; without it all jobs wait for each other.
    Every method may be called from any thread. Errors: BadInput for an unknown id or kind or a request that does not
    fit the job's state; Failed when another process has the folder or the disk refuses.
    """

    def __init__(self, folder: Path, runners: Mapping[str, Runner], lane_of: Callable[[Job], Lane] = one_lane) -> None:
        self.folder = Path(folder)
        self.runners = runners
        self._lane_of = lane_of
        self._changing = threading.Lock()
        self._lock = FolderLock(self.folder)
        self._crew: Crew | None = None
        self._ended = False

    @property
    def owner(self) -> bool:
        """Whether this process runs the folder's jobs."""
        return self._crew is not None

    def start(self) -> None:
        """Take the folder, put its list right and run what is queued; does nothing the second time."""
        with self._changing:
            if self._crew is None:
                self._crew = self._take()
                self._ended = False

    def _take(self) -> Crew:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._lock.acquire():
            owner = self._lock.owner()
            raise Failed(f"{self.folder}: another Astolfo (process {owner}) runs the jobs of this folder; ask that one")
        try:
            crew = Crew(Ledger(self.folder), self.runners, self._lane_of)
            for job in recover(crew.ledger):
                crew.put(job, job.settings)
        except BaseException:
            self._lock.release()
            raise
        crew.start()
        return crew

    def shutdown(self, timeout: float = 10.0) -> None:
        """The running job is asked to stop and waited for, queued ones stay for the next start."""
        with self._changing:
            self._ended = True
            if self._crew is not None:
                self._crew.end(timeout)
                self._crew.ledger.close()
                self._crew = None
                self._lock.release()

    def _mine(self) -> Crew:
        """The workers, started when need be."""
        if self._ended:
            raise Failed("the job queue was shut down")
        self.start()
        assert self._crew is not None
        return self._crew

    def _view(self) -> Ledger | Reader:
        crew = self._crew
        return crew.ledger if crew is not None else Reader(self.folder, self._lock)

    def submit(self, kind: str, settings: Mapping[str, Any]) -> Job:
        """Queue it. What looks like a password or key in the settings reaches the work, but never the disk."""
        if kind not in self.runners:
            near = get_close_matches(kind, self.runners, 1)
            known = f"{near[0]!r}?" if near else "one of " + ", ".join(sorted(self.runners))
            raise BadInput("kind", repr(kind), known)
        crew = self._mine()
        values = plain(settings)
        found: set[str] = set()
        job_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{kind}-{secrets.token_hex(3)}"
        job = Job(job_id, kind, hide(values, found), created=time.time())
        with crew.ledger.condition:
            crew.ledger.add(job, found)
            crew.put(job, values)
        return job

    def get(self, job_id: str) -> Job:
        return self._view().get(job_id)

    def list(self, limit: int = 100) -> list[Job]:
        """Newest first; unfinished jobs are always among them."""
        return self._view().newest(max(0, min(limit, LIST_LIMIT)))

    def events(self, job_id: str, after: int = 0, limit: int = 500) -> tuple[Event, ...]:
        """Those with a number above ``after``, oldest first."""
        return self._view().events(job_id, max(0, min(after, LARGEST)), max(0, min(limit, LIST_LIMIT)))

    def file(self, job_id: str, name: str) -> Path:
        """The path of one of the job's files; BadInput for anything else."""
        return files.find(self.folder / self._view().peek(job_id).id, name)

    def _of(self, job_id: str) -> Worker:
        crew = self._mine()
        return crew.of(crew.ledger.peek(job_id))

    def pause(self, job_id: str) -> Job:
        """Wait at the next safe point; a queued job is held back."""
        return self._of(job_id).pause(job_id)

    def resume(self, job_id: str) -> Job:
        return self._of(job_id).resume(job_id)

    def stop(self, job_id: str) -> Job:
        """End early, keep what is made."""
        return self._of(job_id).stop(job_id, "stop")

    def cancel(self, job_id: str) -> Job:
        """End and delete the job's files."""
        return self._of(job_id).stop(job_id, "cancel")

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Until the job is over or ``timeout`` seconds passed; returns it as it then is."""
        ledger = self._mine().ledger
        with ledger.condition:
            ledger.condition.wait_for(lambda: ledger.peek(job_id).over, timeout)
            return ledger.get(job_id)
