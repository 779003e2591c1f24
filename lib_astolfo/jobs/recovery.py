"""What a journal means whose owner is gone."""

from __future__ import annotations

from dataclasses import replace

from . import files
from .job import Job
from .ledger import Ledger

KILLED = "Astolfo ended while this job was running: it was killed, it crashed, or the machine went down"
NO_SECRET = "it needs a password or key, which is never written to the disk; submit it again"


def dead(job: Job, written: float) -> Job:
    """The truth about an unfinished job without an owner; ``written``: when it was last heard of.

    What had begun has failed. What waits still waits, held back or not.
    """
    if job.started is None:
        return job
    cancelled = job.asked == "cancel"
    state, reason = ("stopped", "cancelled on request") if cancelled else ("failed", KILLED)
    progress = replace(job.progress, seconds_left=None)
    return job.but(state=state, asked="", error=reason, ended=written, progress=progress)


def recover(ledger: Ledger) -> list[Job]:
    """Put the journal right; the jobs that wait, in their order."""
    waiting = []
    for job, written, needs_secret in ledger.journal.unfinished():
        ledger.take_up(job)
        after = dead(job, written)
        if not after.over and needs_secret:
            after = after.but(state="failed", error=NO_SECRET, ended=written)
        if not after.over:
            waiting.append(after)
            continue
        folder = ledger.folder / job.id
        if job.asked == "cancel":
            files.delete(folder)
        ledger.put(after.but(files=files.listing(folder)), event=f"{after.state}: {after.error}")
    return waiting
