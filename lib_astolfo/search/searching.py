"""Runs a search: rounds of cells that a strategy chooses, drawn by this process and by any other that joins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lib_astolfo.errors import AstolfoError, Failed, Stopped
from lib_astolfo.hosts.base import Host, Progress
from lib_astolfo.scoring.score import ScoreValues
from lib_astolfo.search import sheet
from lib_astolfo.search.axes import AXES, plain
from lib_astolfo.search.drawing import CELLS_FOLDER, Drawer
from lib_astolfo.search.ledger import DONE, FAILED, OVER, PRUNED, Entry, Ledger
from lib_astolfo.search.plan import Cell, Plan
from lib_astolfo.search.statistics import worse
from lib_astolfo.search.store import SEARCH, CellResult, CellStore, result_from_dict
from lib_astolfo.search.strategies.base import Strategy, Tried

if TYPE_CHECKING:
    from lib_astolfo.merging.live import LiveWeights

BEAT = 5.0  # seconds between two signs of life
POLL = 0.5  # seconds between two looks for cells, while others have them all
BROKEN = 3  # cells that fail one after the other, after which the search ends
HOPELESS = 3.0  # standard errors by which the first pictures of a cell must be worse than the best cell's


@dataclass
class Search:
    """A search and where it is drawn. ``look``: pictures after which a cell may be found hopeless, 0: never.

    ``progress`` is called without the host's lock and may wait; ``report`` under it, and must not wait. Either may
    raise Stopped. ``on_cell`` is called for the cells that this process has drawn.
    """

    plan: Plan
    strategy: Strategy
    ledger: Ledger
    host: Host
    live: Callable[[], LiveWeights]
    folder: Path
    look: int = 0
    progress: Progress = lambda done, total, text: None
    report: Progress = lambda done, total, text: None
    on_cell: Callable[[CellResult], None] = lambda result: None
    asked: Callable[[], bool] = lambda: False  # see ``Drawer``
    drawn: int = 0  # cells by this process
    _failures: int = field(default=0, init=False)
    _made: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)
    _kept: set[str] = field(default_factory=set, init=False)  # keys of the cells whose lines are in the folder

    def run(self) -> None:
        """Go on until the strategy has no more cells. Errors: Stopped, Failed; finished cells are in the ledger."""
        drawer = Drawer(self.plan, self.host, self.live, self.folder, self._report, self.look, self.asked)
        claims = _Claims(self)
        self._kept = CellStore(self.folder).begin(self.plan, SEARCH)
        while True:
            entries = self.ledger.entries()
            self._keep(entries)
            self.progress(*self._state(entries))
            if all(entry.state in OVER for entry in entries):
                if not self._next_round(entries):
                    return
                continue
            claims.best = self._best(entries)
            with claims.alive():
                worked = self._turn(drawer, claims)
            if not worked and not self.ledger.take_back():
                time.sleep(POLL)

    def _keep(self, entries: Sequence[Entry]) -> None:
        """Write what was finished, here or by others, into the folder too, where it can be looked at meanwhile."""
        for entry in entries:
            if entry.state == DONE and cell_of(entry).key not in self._kept:
                result = read(self.plan, entry)
                if bring(result, entry.number, self.ledger, self.folder):
                    self._note(result)

    def _note(self, result: CellResult) -> None:
        self._kept.add(result.cell.key)
        CellStore(self.folder).append(self.plan, result)

    def _turn(self, drawer: Drawer, claims: _Claims) -> bool:
        """A turn with the lock. A cell that cannot be drawn has failed; three of them end the search."""
        try:
            worked = drawer.turn(claims)
        except Stopped:
            claims.let_go()
            raise
        except AstolfoError as error:
            if claims.number is None:
                raise
            claims.fail(str(error))
            drawer.cell, self._failures = None, self._failures + 1
            if self._failures >= BROKEN:
                raise Failed(f"{BROKEN} cells failed one after the other, the last one: {error}") from error
            return True
        except BaseException:
            claims.let_go()
            raise
        if worked:
            self._failures = 0
        return worked

    def _next_round(self, entries: Sequence[Entry]) -> bool:
        """Add the strategy's next round, unless another worker does; False if there is none."""
        found = rounds(self.plan, entries)
        known = {Cell(0, one.values).key for round in found for one in round}
        cells = {(cell := Cell(0, values)).key: cell for values in self.strategy.propose(found)}
        fresh = [cell for name, cell in cells.items() if name not in known]
        for cell in fresh:
            self.plan.check(cell)
        rows = [({n: plain(v) for n, v in cell.values.items()}, self.plan.weights_key(cell)) for cell in fresh]
        self.ledger.add(len(found), len(entries), rows)
        return bool(fresh)

    def _best(self, entries: Sequence[Entry]) -> ScoreValues | None:
        """The primary score of the best cell of the rounds that are over: so all workers compare with the same one."""
        score, now = self.plan.primary, max(entry.round for entry in entries)
        if score is None:
            return None
        older = [entry for entry in entries if entry.round < now and entry.state == DONE]
        values = [read(self.plan, entry).scores.get(score.name) for entry in older]
        return min((v for v in values if v is not None), key=lambda v: float(score.loss(v.mean)), default=None)

    def _state(self, entries: Sequence[Entry]) -> tuple[int, int, str]:
        each = self.plan.settings.pictures
        over = sum(entry.state in OVER for entry in entries)
        self._made, self._total = over * each, max(self.strategy.most, len(entries)) * each
        round = max((entry.round for entry in entries), default=0)
        return self._made, self._total, f"round {round + 1}"

    def _report(self, count: int, text: str) -> None:
        self._made += count
        self.report(min(self._made, self._total), self._total, text)


class _Claims:
    """The cells of the ledger as the drawer takes them; while one is held, a thread tells that this worker lives."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.number: int | None = None
        self.best: ScoreValues | None = None
        self._pruned = False

    def take(self, near: Cell | None) -> Cell | None:
        search = self.search
        entry = search.ledger.claim("" if near is None else search.plan.weights_key(near))
        if entry is None:
            self.number = None
            return None
        self.number, self._pruned = entry.number, False
        return cell_of(entry)

    def hopeless(self, cell: Cell, scores: Mapping[str, ScoreValues]) -> bool:
        """Whether the first pictures are clearly worse than the same pictures of the best cell so far."""
        score = self.search.plan.primary
        if score is None or self.best is None or self.best.each is None or score.name not in scores:
            return False
        mine = scores[score.name]
        if mine.each is None:
            return False
        against = worse(score, mine, ScoreValues.of(self.best.each[: mine.each.size]))
        self._pruned = against.mean > 0 and against.beyond(HOPELESS)
        return self._pruned

    def finish(self, result: CellResult) -> None:
        search, number = self.search, self.number
        assert number is not None
        picture = (search.folder / result.picture).read_bytes()
        state = PRUNED if self._pruned else DONE
        self.number = None
        if search.ledger.finish(number, state, result.to_dict(), picture):
            search.drawn += 1
            if state == DONE:
                search._note(result)
            search.on_cell(result)

    def fail(self, text: str) -> None:
        """End the cell that is held without a result."""
        if self.number is not None:
            self.search.ledger.finish(self.number, FAILED, {"error": text}, None)
        self.number = None

    def let_go(self) -> None:
        """Give the cell that is held to somebody else."""
        if self.number is not None:
            self.search.ledger.give_back(self.number)
        self.number = None

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Tell every few seconds that the cell that is held is being drawn."""
        end = threading.Event()

        def tell() -> None:
            while not end.wait(BEAT):
                number = self.number
                if number is not None:
                    self.search.ledger.beat(number)

        thread = threading.Thread(target=tell, daemon=True, name="astolfo-search-beat")
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


def cell_of(entry: Entry) -> Cell:
    """The cell of an entry, its values read."""
    values = {name: AXES[name].parse(name, value) for name, value in entry.values.items()}
    return Cell(entry.number, values)


def read(plan: Plan, entry: Entry) -> CellResult:
    """The result of an entry that is over; a failed one has no scores."""
    line = entry.result or {}
    if "scores" not in line:
        return CellResult(cell_of(entry), {}, "", str(line.get("error", "")))
    return result_from_dict(cell_of(entry), plan.scores, line)


def rounds(plan: Plan, entries: Sequence[Entry]) -> list[list[Tried]]:
    """What was tried, round by round."""
    found: list[list[Tried]] = []
    for entry in entries:
        result = read(plan, entry)
        while len(found) <= entry.round:
            found.append([])
        found[entry.round].append(Tried(result.cell.values, result.scores, entry.state))
    return found


def fetch(plan: Plan, ledger: Ledger, folder: Path) -> list[CellResult]:
    """Every finished cell, its sheet of pictures brought into the folder where another worker has drawn it."""
    found = []
    for entry in ledger.entries():
        if entry.state != DONE:
            continue
        result = read(plan, entry)
        bring(result, entry.number, ledger, folder)
        found.append(result)
    return found


def bring(result: CellResult, number: int, ledger: Ledger, folder: Path) -> bool:
    """Bring a cell's sheet of pictures into the folder where another worker has drawn it; whether it is there."""
    path = folder / result.picture
    if not path.is_file() and path.parent == folder / CELLS_FOLDER:
        content = ledger.picture(number)
        if content is not None:
            sheet.keep(content, path)
    return path.is_file()


__all__ = ["Search", "cell_of", "fetch", "read", "rounds"]
