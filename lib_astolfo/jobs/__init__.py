"""Background jobs: queue, journal, progress, pause and stop."""

from .crew import Lane
from .job import ENDED, STATES, Event, Job, JobProgress, Over, Runner, Task, Unknown
from .queue import JobQueue

__all__ = ["ENDED", "STATES", "Event", "Job", "JobProgress", "JobQueue", "Lane", "Over", "Runner", "Task", "Unknown"]
