"""The queue: one worker thread that runs one job after the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .job import Event, Job, Runner


class JobQueue:
    """Jobs of one folder. ``start`` takes the folder's lock and runs; without it the list can be read only.

    Errors: BadInput for an unknown id, kind or a request that does not fit the state; Failed when another
    process owns the folder.
    """

    def __init__(self, folder: Path, runners: Mapping[str, Runner]) -> None:
        self.folder = folder
        self.runners = runners

    def start(self) -> None:
        raise NotImplementedError

    def shutdown(self, timeout: float = 10.0) -> None:
        raise NotImplementedError

    def submit(self, kind: str, settings: Mapping[str, Any]) -> Job:
        raise NotImplementedError

    def get(self, job_id: str) -> Job:
        raise NotImplementedError

    def list(self, limit: int = 100) -> list[Job]:
        """Newest first; unfinished jobs are always among them."""
        raise NotImplementedError

    def events(self, job_id: str, after: int = 0, limit: int = 500) -> tuple[Event, ...]:
        raise NotImplementedError

    def file(self, job_id: str, name: str) -> Path:
        """The path of one of the job's files; BadInput for anything else."""
        raise NotImplementedError

    def pause(self, job_id: str) -> Job:
        raise NotImplementedError

    def resume(self, job_id: str) -> Job:
        raise NotImplementedError

    def stop(self, job_id: str) -> Job:
        """End early, keep what is made."""
        raise NotImplementedError

    def cancel(self, job_id: str) -> Job:
        """End and delete the job's files."""
        raise NotImplementedError

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Until the job is over or ``timeout`` seconds passed; returns it as it then is."""
        raise NotImplementedError
