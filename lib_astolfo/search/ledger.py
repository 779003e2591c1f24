"""The cells of a search in a database, where several processes and machines take them one by one.

SQLite serves one machine, PostgreSQL and MySQL many. A cell is ``waiting``, ``running`` (some worker's, which tells
again and again that it lives), ``done``, ``pruned`` (found hopeless early) or ``failed``. Every change of a state is
one conditional UPDATE, so that of two workers one gets a cell, and the result of one counts. Times are the database's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.search import databases
from lib_astolfo.search.databases import WAITING_SECONDS, Worker

if TYPE_CHECKING:
    from sqlalchemy import Engine

WAITING, RUNNING, DONE, PRUNED, FAILED = "waiting", "running", "done", "pruned", "failed"
OVER = (DONE, PRUNED, FAILED)
GRACE = 60.0  # seconds without a sign of life after which a worker's cell is given back
MAX_TRIES = 3  # workers that may die over a cell before it counts as failed


@dataclass(frozen=True)
class Entry:
    """A cell in the database. ``values`` as JSON holds them; ``result`` is a line of ``store.CellResult`` or None."""

    number: int
    round: int
    values: Mapping[str, Any]
    weights: str
    state: str
    worker: str = ""
    result: Mapping[str, Any] | None = None


class Ledger:
    """One study in a database."""

    def __init__(self, url: str, name: str, *, grace: float = GRACE) -> None:
        """Errors: BadInput for a URL that is none, Failed for a database that cannot be reached."""
        self.name, self.grace = name, grace
        self.worker = Worker.here()
        self._engine: Engine = databases.connect(url)
        self._studies, self._cells, self._parts = databases.tables(self._engine)

    def close(self) -> None:
        """Let the connections go."""
        self._engine.dispose()

    # The study

    def settings(self) -> dict[str, Any] | None:
        """What the study was begun with, or None if there is none of this name."""
        t = self._studies
        with databases.reading(self._engine) as connection:
            row = connection.execute(t.select().where(t.c.name == self.name)).first()
        return None if row is None else json.loads(row.settings)

    def begin(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Begin the study, unless somebody did; returns what it was begun with."""
        text = json.dumps(dict(settings), sort_keys=True)
        databases.insert(self._engine, self._studies, [{"name": self.name, "settings": text}])
        found = self.settings()
        if found is None:
            raise Failed(f"the study {self.name} could not be written")
        return found

    # Its cells

    def add(self, round: int, start: int, cells: Sequence[tuple[Mapping[str, Any], str]]) -> None:
        """A round of cells, each its values and what its weights are called, numbered from ``start`` in this order.

        All of them or none; nothing happens if somebody has added the round.
        """
        rows = [
            {
                "study": self.name,
                "number": start + index,
                "round": round,
                "key": sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest(),
                "cell": json.dumps(dict(values), sort_keys=True),
                "weights": sha256(weights.encode()).hexdigest(),
                "state": WAITING,
                "worker": "",
                "beat": 0.0,
                "tries": 0,
            }
            for index, (values, weights) in enumerate(cells)
        ]
        if rows:
            databases.insert(self._engine, self._cells, rows)

    def entries(self) -> list[Entry]:
        """Every cell, in the order of their numbers."""
        t = self._cells
        wanted = (t.c.number, t.c.round, t.c.cell, t.c.weights, t.c.state, t.c.worker, t.c.result)
        with databases.reading(self._engine) as connection:
            rows = connection.execute(t.select().with_only_columns(*wanted).where(t.c.study == self.name)).all()
        return sorted((_entry(row) for row in rows), key=lambda entry: entry.number)

    def claim(self, weights: str = "") -> Entry | None:
        """Take a cell: one of these weights rather, then one whose weights nobody else has at work, then any."""
        entries = self.entries()
        wanted = sha256(weights.encode()).hexdigest() if weights else ""
        busy = {entry.weights for entry in entries if entry.state == RUNNING}
        waiting = [entry for entry in entries if entry.state == WAITING]
        waiting.sort(key=lambda entry: (entry.weights != wanted, entry.weights in busy, entry.number))
        t = self._cells
        for entry in waiting:
            change = {"state": RUNNING, "worker": self.worker.name, "beat": self._now(), "tries": t.c.tries + 1}
            if self._change(entry.number, t.c.state == WAITING, change):
                return entry
        return None

    def beat(self, number: int) -> bool:
        """Say that this cell is still at work; False if it is not this worker's any more."""
        mine = self._mine()
        return self._change(number, mine, {"beat": self._now()})

    def finish(self, number: int, state: str, result: Mapping[str, Any], picture: bytes | None) -> bool:
        """Keep a result; False, and nothing is kept, if the cell is not this worker's any more."""
        text = json.dumps(dict(result), ensure_ascii=False)
        self._keep_parts(number, picture or b"")
        kept = self._change(number, self._mine(), {"state": state, "result": text})
        if not kept:
            self._drop_parts(number, self.worker.name)
        return kept

    def give_back(self, number: int) -> None:
        """Let a cell go that was taken; it does not count as a try."""
        t = self._cells
        self._change(number, self._mine(), {"state": WAITING, "worker": "", "tries": t.c.tries - 1})

    def take_back(self) -> int:
        """Give back the cells of workers that are dead, and end those that killed too many; returns how many."""
        t, count = self._cells, 0
        for entry in self.entries():
            if entry.state != RUNNING or entry.worker == self.worker.name:
                continue
            dead = t.c.worker == entry.worker
            if not self.worker.knows_dead(entry.worker):
                dead = dead & (t.c.beat < self._now() - self.grace)
            again = {"state": WAITING, "worker": ""}
            over = {"state": FAILED, "result": json.dumps({"error": f"{MAX_TRIES} workers died over it"})}
            few = t.c.tries < MAX_TRIES
            if self._change(entry.number, self._running() & dead & few, again) or self._change(
                entry.number, self._running() & dead & ~few, over
            ):
                self._drop_parts(entry.number, entry.worker)
                count += 1
        return count

    def picture(self, number: int) -> bytes | None:
        """The sheet of a finished cell, as PNG."""
        t, cells = self._parts, self._cells
        with databases.reading(self._engine) as connection:
            cell = cells.select().with_only_columns(cells.c.worker)
            worker = connection.execute(cell.where((cells.c.study == self.name) & (cells.c.number == number))).scalar()
            where = (t.c.study == self.name) & (t.c.number == number) & (t.c.worker == (worker or ""))
            parts = connection.execute(t.select().with_only_columns(t.c.content).where(where).order_by(t.c.part)).all()
        return b"".join(row.content for row in parts) if parts else None

    def _keep_parts(self, number: int, picture: bytes) -> None:
        """Each part in a transaction of its own: servers limit how much one may send."""
        self._drop_parts(number, self.worker.name)
        key = {"study": self.name, "number": number, "worker": self.worker.name}
        for part, start in enumerate(range(0, len(picture), databases.PART)):
            content = picture[start : start + databases.PART]
            databases.insert(self._engine, self._parts, [{**key, "part": part, "content": content}])

    def _drop_parts(self, number: int, worker: str) -> None:
        """What a worker has written of a picture that does not count."""
        t = self._parts
        where = (t.c.study == self.name) & (t.c.number == number) & (t.c.worker == worker)
        databases.change(self._engine, t.delete().where(where))

    def _mine(self) -> Any:
        return self._running() & (self._cells.c.worker == self.worker.name)

    def _running(self) -> Any:
        return self._cells.c.state == RUNNING

    def _now(self) -> Any:
        return databases.now(self._engine)

    def _change(self, number: int, where: Any, values: Mapping[str, Any]) -> bool:
        """Change one cell if the condition still holds; whether it did."""
        t = self._cells
        chosen = t.update().where((t.c.study == self.name) & (t.c.number == number) & where).values(**values)
        return databases.change(self._engine, chosen) == 1


def _entry(row: Any) -> Entry:
    result = None if row.result is None else json.loads(row.result)
    return Entry(row.number, row.round, json.loads(row.cell), row.weights, row.state, row.worker, result)


def default_url(path: Any) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


__all__ = ["WAITING_SECONDS", "BadInput", "Entry", "Ledger", "default_url"]
