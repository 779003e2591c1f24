"""Background jobs: queue, journal, progress, pause and stop."""

from .crew import COMMON, Lane
from .job import ENDED, STATES, Event, Job, JobProgress, Runner, Task
from .queue import JobQueue

__all__ = [
    "COMMON",
    "ENDED",
    "STATES",
    "Event",
    "Job",
    "JobProgress",
    "JobQueue",
    "Lane",
    "Runner",
    "Task",
]
