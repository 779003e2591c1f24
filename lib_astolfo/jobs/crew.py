"""The workers of one folder: a thread for each lane, over one list of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .job import Job, Runner
from .ledger import Ledger
from .worker import Worker


@dataclass(frozen=True)
class Lane:
    """Jobs of one lane run one after the other, the lanes side by side.

    ``patience``: seconds that a running job is given at least when Astolfo is shut down, to bring its work to the disk.
    """

    name: str
    patience: float = 0.0


COMMON = Lane("jobs")


class Crew:
    """``lanes``: kind of job -> its lane; kinds that are not named there share ``COMMON``."""

    def __init__(self, ledger: Ledger, runners: Mapping[str, Runner], lanes: Mapping[str, Lane]) -> None:
        self.ledger = ledger
        self._lanes = lanes
        named = dict.fromkeys((COMMON, *lanes.values()))
        self._workers = {lane: Worker(ledger, runners, f"astolfo {lane.name}") for lane in named}

    def of(self, job: Job) -> Worker:
        """Who runs it."""
        return self._workers[self._lanes.get(job.kind, COMMON)]

    def put(self, job: Job, settings: dict[str, Any]) -> None:
        self.of(job).put(job.id, settings)

    def start(self) -> None:
        for worker in self._workers.values():
            worker.start()

    def end(self, timeout: float) -> None:
        """All running jobs are asked to stop at once, then waited for, each lane as long as it needs."""
        for worker in self._workers.values():
            worker.ask_to_end()
        for lane, worker in self._workers.items():
            worker.end(max(timeout, lane.patience))
