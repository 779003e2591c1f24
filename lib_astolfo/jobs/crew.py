"""The workers of one folder: a thread for each lane, over one list of jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def one_lane(job: Job) -> Lane:
    """All jobs wait for each other."""
    return COMMON


class Crew:
    """``lane_of``: the lane of a job, always the same one. A lane's thread is made with its first job."""

    def __init__(self, ledger: Ledger, runners: Mapping[str, Runner], lane_of: Callable[[Job], Lane]) -> None:
        self.ledger = ledger
        self._runners = runners
        self._lane_of = lane_of
        self._workers: dict[Lane, Worker] = {}
        self._started = False

    def of(self, job: Job) -> Worker:
        """Who runs it."""
        lane = self._lane_of(job)
        with self.ledger.condition:
            if lane not in self._workers:
                self._workers[lane] = Worker(self.ledger, self._runners, f"astolfo {lane.name}")
                if self._started:
                    self._workers[lane].start()
            return self._workers[lane]

    def put(self, job: Job, settings: dict[str, Any]) -> None:
        self.of(job).put(job.id, settings)

    def start(self) -> None:
        """Begin with what was put until now; what comes later begins by itself."""
        with self.ledger.condition:
            self._started = True
            for worker in self._workers.values():
                worker.start()

    def end(self, timeout: float) -> None:
        """All running jobs are asked to stop at once, then waited for, each lane as long as it needs."""
        with self.ledger.condition:
            workers = dict(self._workers)
        for worker in workers.values():
            worker.ask_to_end()
        for lane, worker in workers.items():
            worker.end(max(timeout, lane.patience))
