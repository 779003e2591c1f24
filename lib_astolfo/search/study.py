"""Draws and scores the cells of a plan with the loaded model, and what was found so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib_astolfo.errors import Stopped
from lib_astolfo.hosts.base import Host, Progress
from lib_astolfo.scoring.score import ScoreValues
from lib_astolfo.search.drawing import Drawer
from lib_astolfo.search.order import drawing_order
from lib_astolfo.search.plan import Cell, Plan
from lib_astolfo.search.store import GRID, CellResult, CellStore

if TYPE_CHECKING:
    from lib_astolfo.merging.live import LiveWeights


@dataclass(frozen=True)
class StudyResult:
    """What a study found so far: ``cells`` in the order of the plan; ``stopped`` if it was ended early."""

    plan: Plan
    cells: tuple[CellResult, ...]
    folder: Path
    stopped: bool = False
    seconds: float = 0.0

    def find(self, values: Mapping[str, object]) -> CellResult | None:
        """The finished cell with exactly these values."""
        return next((result for result in self.cells if dict(result.cell.values) == dict(values)), None)

    def best(self, cells: Sequence[CellResult] | None = None) -> CellResult | None:
        """The cell that the primary score puts first, or None without cells or without such a score."""
        primary = self.plan.primary
        among = self.cells if cells is None else cells
        if primary is None or not among:
            return None
        losses = primary.loss(np.array([result.scores[primary.name].mean for result in among]))
        return None if np.isnan(losses).all() else among[int(np.nanargmin(losses))]


def run(
    plan: Plan,
    host: Host,
    live: Callable[[], LiveWeights],
    folder: Path,
    *,
    progress: Progress | None = None,
    report: Progress | None = None,
    on_cell: Callable[[CellResult], None] | None = None,
    asked: Callable[[], bool] = lambda: False,
) -> StudyResult:
    """Draw what is missing in ``folder`` and return all cells.

    ``live()`` gives the live weights of the loaded model and is called under the host's lock. ``progress`` is called
    without the lock and may wait; ``report`` under it, and must not wait. Either may raise Stopped: the cells made
    until then are kept and returned, and only with none at all it goes through. ``asked``: see ``Drawer``.
    """
    start = time.monotonic()
    store = CellStore(folder)
    store.begin(plan, GRID)
    cells = _Missing(plan, store, store.read(plan), on_cell)
    total, each = len(plan.cells) * plan.settings.pictures, plan.settings.pictures
    made = len(cells.done) * each

    def seen(count: int, text: str) -> None:
        nonlocal made
        made += count
        (report or _silent)(made, total, text)

    drawer, stopped = Drawer(plan, host, live, folder, seen, asked=asked), False
    try:
        while drawer.cell is not None or cells.pending:
            (progress or _silent)(made, total, (drawer.cell or cells.pending[0]).label)
            drawer.turn(cells)
        (progress or _silent)(total, total, "")
    except Stopped:
        if not cells.done:
            raise
        stopped = len(cells.done) < len(plan.cells)
    found = tuple(cells.done[cell.key] for cell in plan.cells if cell.key in cells.done)
    return StudyResult(plan, found, folder, stopped, time.monotonic() - start)


def _silent(done: int, total: int, text: str) -> None:
    """Nobody wants to know."""


class _Missing:
    """The cells of a plan that its folder lacks, in the order that rewrites the fewest bytes."""

    def __init__(
        self, plan: Plan, store: CellStore, done: dict[str, CellResult], on_cell: Callable[[CellResult], None] | None
    ) -> None:
        self.plan, self.store, self.done, self.on_cell = plan, store, done, on_cell
        self.pending = [cell for cell in drawing_order(plan) if cell.key not in done]

    def take(self, near: Cell | None) -> Cell | None:
        return self.pending.pop(0) if self.pending else None

    def hopeless(self, cell: Cell, scores: Mapping[str, ScoreValues]) -> bool:
        return False

    def finish(self, result: CellResult) -> None:
        self.store.append(self.plan, result)
        self.done[result.cell.key] = result
        if self.on_cell is not None:
            self.on_cell(result)
