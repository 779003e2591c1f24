"""The thread that does the work, and what may be asked of it."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from lib_astolfo.errors import AstolfoError, Failed, Stopped

from . import files
from .job import Job, Runner
from .ledger import Ledger
from .plain import blotted, plain
from .task import QueueTask

EARLY = "ended early, with what there was"
"""Why a job is stopped whose work says so of itself in its result (``stopped``): nobody asked here."""


class Worker:
    """Runs what it is given of a ledger's jobs, one after the other, in one daemon thread.

    A runner's error ends its job as failed, never the thread. Everything is guarded by the ledger's condition.
    """

    def __init__(self, ledger: Ledger, runners: Mapping[str, Runner], name: str = "astolfo jobs") -> None:
        self.ledger = ledger
        self._runners = runners
        self._waiting: dict[str, dict[str, Any]] = {}  # id -> settings with their secrets, in the order of the queue
        self._task: QueueTask | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask_to_end(self) -> None:
        """Nothing more is begun, and the running job is asked to stop."""
        with self.ledger.condition:
            self._ending = True
            if self._task is not None and self._task.asked != "cancel":
                self._ask(self._task, "shutdown")
            self.ledger.condition.notify_all()

    def end(self, timeout: float) -> None:
        """The running job is asked to stop and waited for; if it does not end in time it is noted as failed."""
        self.ask_to_end()
        self._thread.join(timeout)
        with self.ledger.condition:
            if self._task is not None:
                self._finish(self._task, "failed", f"it did not end within {timeout:g} s when Astolfo was shut down")

    def put(self, job_id: str, settings: dict[str, Any]) -> None:
        with self.ledger.condition:
            self._waiting[job_id] = settings
            self.ledger.condition.notify_all()

    def pause(self, job_id: str) -> Job:
        """A queued job is held back; a running one waits at its next ``progress``."""
        with self.ledger.condition:
            job = self.ledger.living(job_id)
            if job.state == "queued":
                return self.ledger.change(job_id, state="paused")
            if job.state == "running" and self._task is not None:
                self._task.asked = "pause"
                return self.ledger.change(job_id, asked="pause")
            return job

    def resume(self, job_id: str) -> Job:
        with self.ledger.condition:
            job = self.ledger.living(job_id)
            if self._task is None or self._task.job_id != job_id:
                return self.ledger.change(job_id, state="queued") if job.state == "paused" else job
            if self._task.asked != "pause":
                return job
            self._task.asked = ""
            said = "resumed" if job.state == "paused" else ""
            return self.ledger.change(job_id, event=said, state="running", asked="")

    def stop(self, job_id: str, how: str) -> Job:
        """``how``: "stop" keeps the job's files, "cancel" deletes them."""
        with self.ledger.condition:
            job = self.ledger.living(job_id)
            if self._task is not None and self._task.job_id == job_id:
                if self._task.asked != "cancel":
                    self._ask(self._task, how)
                return self.ledger.get(job_id)
            self._waiting.pop(job_id, None)
            said = "stopped before it began"
            return self.ledger.change(job.id, event=said, state="stopped", error=said, ended=time.time())

    def _ask(self, task: QueueTask, how: str) -> None:
        task.asked = how
        self.ledger.change(task.job_id, state="stopping", asked="cancel" if how == "cancel" else "stop")

    def _next(self) -> QueueTask | None:
        """Wait for a queued job and mark it as running; None when the thread shall end."""
        with self.ledger.condition:
            while not self._ending:
                for job_id in self._waiting:
                    if self.ledger.peek(job_id).state == "queued":
                        self._task = QueueTask(self.ledger, job_id)
                        self.ledger.change(job_id, event="started", state="running", started=time.time())
                        return self._task
                self.ledger.condition.wait()
            return None

    def _loop(self) -> None:
        while (task := self._next()) is not None:
            state, error, result = self._run(task, self._waiting.pop(task.job_id))
            with self.ledger.condition:
                if self._task is task:  # else ``end`` gave it up
                    self._finish(task, state, error, result)

    def _run(self, task: QueueTask, settings: dict[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
        """State, error and result in which the job ends."""
        try:
            task.folder.mkdir(parents=True, exist_ok=True)
            kind = self.ledger.peek(task.job_id).kind
            if kind not in self._runners:
                raise Failed(f"this Astolfo knows no work called {kind!r}")
            result = plain(self._runners[kind](settings, task))
        except Stopped as stop:
            return "stopped", task.reason or str(stop), None
        except AstolfoError as error:
            return "failed", str(error), None
        except BaseException as error:  # not even SystemExit may end the thread
            text = f"{type(error).__name__}: {error}"
            task.event(text, traceback=traceback.format_exc())
            return "failed", text, None
        if task.noticed:
            return "stopped", task.reason, result
        early = isinstance(result, dict) and result.get("stopped") is True  # as by a WebUI's interrupt
        return ("stopped", EARLY, result) if early else ("done", "", result)

    def _finish(self, task: QueueTask, state: str, error: str, result: dict[str, Any] | None = None) -> None:
        if task.asked == "cancel" and state != "done":
            files.delete(task.folder)
            result = None
        made = files.listing(task.folder)
        result = blotted(result, self.ledger.secrets.get(task.job_id, set()))
        said = f"{state}: {error}" if error else state
        self._task = None
        try:
            self.ledger.change(
                task.job_id,
                event=said,
                state=state,
                asked="",
                error=error,
                result=result,
                files=made,
                ended=time.time(),
            )
        except Exception as problem:  # the thread must live on; what went wrong is for the terminal
            print(f"astolfo: job {task.job_id}: {problem!r}", file=sys.stderr)
