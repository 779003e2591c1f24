"""Background jobs: queue, journal, progress, pause and stop."""

from .job import ENDED, STATES, Event, Job, JobProgress, Runner, Task
from .queue import JobQueue

__all__ = ["ENDED", "STATES", "Event", "Job", "JobProgress", "JobQueue", "Runner", "Task"]
