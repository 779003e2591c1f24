"""What a job is, as everybody sees it: plain frozen data that becomes JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

STATES = ("queued", "running", "paused", "stopping", "done", "failed", "stopped")
ENDED = ("done", "failed", "stopped")


@dataclass(frozen=True)
class JobProgress:
    """``done`` of ``total`` units; ``seconds_left`` is an estimate without pauses, None while nothing is known."""

    done: int = 0
    total: int = 0
    text: str = ""
    seconds_left: float | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened in a job; ``number`` grows by one within the job, ``time`` is seconds since 1970."""

    number: int
    time: float
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Job:
    """One piece of background work.

    ``state`` is one of STATES. ``asked`` is "pause", "stop" or "cancel" while the work has not yet noticed it, else "".
    Times are seconds since 1970, None when not reached. ``files`` are names relative to the job's folder.
    ``error`` is the sentence that says why it failed or who stopped it; ``result`` what the work returned.
    """

    id: str
    kind: str
    settings: dict[str, Any]
    state: str = "queued"
    asked: str = ""
    progress: JobProgress = JobProgress()
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    error: str = ""
    files: tuple[str, ...] = ()
    result: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        return self.state in ENDED

    def to_dict(self) -> dict[str, Any]:
        """As the REST API shows it; every value is JSON."""
        return {**asdict(self), "files": list(self.files)}

    def but(self, **changes: Any) -> Job:
        return replace(self, **changes)


class Task(Protocol):
    """What the work sees of its own job. On the command line the same protocol draws tqdm bars."""

    job_id: str

    @property
    def folder(self) -> Path:
        """The job's own folder. What lies here is in ``Job.files`` at once, save names that start with a dot."""

    @property
    def cancelled(self) -> bool:
        """True once somebody asked to stop or cancel."""

    @property
    def asked(self) -> str:
        """What it was asked to do: "", "pause", "stop", "cancel", or "shutdown" at the end of Astolfo."""

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Between units of work: note the progress, wait here while paused, raise Stopped when asked to end.

        Do not call it while holding ``host.lock()``: a paused job would keep everybody from the model.
        Inside the lock call ``report``.
        """

    def report(self, done: int, total: int, text: str = "") -> None:
        """Like ``progress``, but never waits: a pause takes effect at the next ``progress``."""

    def event(self, text: str, **data: Any) -> None:
        """Something people or programs should know at once; ``data`` must be JSON."""


Runner = Callable[[dict[str, Any], Task], "dict[str, Any] | None"]
