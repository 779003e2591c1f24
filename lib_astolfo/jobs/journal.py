"""The journal: one sqlite file that is true after a crash at any moment.

Write-ahead log. A change of state is committed with ``synchronous=FULL``: it is on the disk before the call returns.
Progress and events are committed with NORMAL: safe against a killed process, may be lost when the power goes.
(https://www.sqlite.org/pragma.html, "PRAGMA synchronous".)
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_astolfo.errors import Failed

from .job import ENDED, Event, Job, JobProgress
from .plain import to_json

VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, state TEXT NOT NULL, written REAL NOT NULL,
  needs_secret INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
  job TEXT NOT NULL, number INTEGER NOT NULL, time REAL NOT NULL, text TEXT NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY (job, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_state ON jobs (state);
"""
_ENDED = ", ".join(f"'{state}'" for state in ENDED)


def _event(job_id: str, text: str, data: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    statement = "INSERT INTO events SELECT ?, COALESCE(MAX(number), 0) + 1, ?, ?, ? FROM events WHERE job=?"
    return statement, (job_id, time.time(), text, to_json(data), job_id)


def _job(body: str) -> Job:
    values = json.loads(body)
    progress = JobProgress(**values.pop("progress"))
    return Job(**{**values, "progress": progress, "files": tuple(values["files"])})


class Journal:
    """Jobs and their events on disk; every method may be called from any thread.

    ``empty``: there were no tables yet when it was opened; with ``read_only`` there are none then.
    Errors: Failed when the file cannot be opened or is none of ours; sqlite3.Error from the methods (a full disk).
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = self._open(read_only)
        except (sqlite3.Error, OSError) as error:
            raise Failed(
                f"{path}: the list of jobs cannot be opened ({error}); if it is damaged, move it away"
            ) from error

    def _open(self, read_only: bool) -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        db = sqlite3.connect(address, uri=True, timeout=10.0, isolation_level=None, check_same_thread=False)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        self.empty = version == 0
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"it has version {version}, this Astolfo reads version {VERSION}")
        if not read_only:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(_TABLES)
            db.execute(f"PRAGMA user_version={VERSION}")
        return db

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _write(self, durable: bool, *statements: tuple[str, tuple[Any, ...]]) -> None:
        """All of them or, after a crash or an error, none."""
        with self._lock:
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._db.execute(statement, values)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    def add(self, job: Job, *, needs_secret: bool = False) -> None:
        """A new job. ``needs_secret``: its settings held one, which is not written, so that it cannot run from here."""
        row = (job.id, job.state, time.time(), int(needs_secret), to_json(job.to_dict()))
        self._write(True, ("INSERT INTO jobs (id, state, written, needs_secret, body) VALUES (?, ?, ?, ?, ?)", row))

    def change(self, job: Job, *, durable: bool, events: Sequence[str] = ()) -> None:
        """``events`` are what is said of the change; they stand there exactly when the change does."""
        row = (job.state, time.time(), to_json(job.to_dict()), job.id)
        change = ("UPDATE jobs SET state=?, written=?, body=? WHERE id=?", row)
        self._write(durable, change, *(_event(job.id, text, {}) for text in events))

    def event(self, job_id: str, text: str, data: dict[str, Any]) -> None:
        """Numbered one above the job's last."""
        self._write(False, _event(job_id, text, data))

    def get(self, job_id: str) -> Job | None:
        rows = self._read("SELECT body FROM jobs WHERE id=?", (job_id,))
        return _job(rows[0][0]) if rows else None

    def newest(self, limit: int) -> list[Job]:
        """Newest first: the last ``limit``, and all that are not over."""
        statement = f"""SELECT body FROM jobs WHERE state NOT IN ({_ENDED})
            OR number IN (SELECT number FROM jobs ORDER BY number DESC LIMIT ?) ORDER BY number DESC"""
        return [_job(body) for (body,) in self._read(statement, (limit,))]

    def unfinished(self) -> list[tuple[Job, float, bool]]:
        """Oldest first: the job, when it was last written (seconds since 1970), and whether it needs a secret."""
        statement = f"SELECT body, written, needs_secret FROM jobs WHERE state NOT IN ({_ENDED}) ORDER BY number"
        return [(_job(body), written, bool(secret)) for body, written, secret in self._read(statement)]

    def events(self, job_id: str, after: int, limit: int) -> tuple[Event, ...]:
        statement = "SELECT number, time, text, data FROM events WHERE job=? AND number>? ORDER BY number LIMIT ?"
        rows = self._read(statement, (job_id, after, limit))
        return tuple(Event(number, when, text, json.loads(data)) for number, when, text, data in rows)
