"""Draws and scores the cells of a plan with the loaded model, its weights merged live."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib_astolfo.errors import AstolfoError, Failed, Stopped
from lib_astolfo.hosts.base import Host, Picture, Progress
from lib_astolfo.search import sheet
from lib_astolfo.search.plan import Cell, Plan
from lib_astolfo.search.scores import Score, ScoreValues
from lib_astolfo.search.store import CellResult, CellStore

if TYPE_CHECKING:
    from lib_astolfo.merging.live import LiveWeights

CELLS_FOLDER = "cells"
HOLD_SECONDS = 10.0  # how long the host's lock is held at least before others get their turn
HOLD_APPLIES = 20.0  # … and at least so many times what writing the merge took, which bounds its share


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


@dataclass
class _Work:
    """The pictures still to draw, and those drawn for the cell that is under way."""

    pending: list[Cell]
    done: dict[str, CellResult]
    drawn: list[Picture] = field(default_factory=list)
    began: float = 0.0
    pictures: int = 0  # drawn or found, over all cells


def run(
    plan: Plan,
    host: Host,
    live: Callable[[], LiveWeights],
    folder: Path,
    *,
    progress: Progress | None = None,
    report: Progress | None = None,
    on_cell: Callable[[CellResult], None] | None = None,
) -> StudyResult:
    """Draw what is missing in ``folder`` and return all cells.

    ``live()`` gives the live weights of the loaded model and is called under the host's lock. ``progress`` is called
    without the lock and may wait; ``report`` under it, and must not wait. Either may raise Stopped: the cells made
    until then are kept and returned, and only with none at all it goes through.
    """
    start = time.monotonic()
    store = CellStore(folder)
    done = store.read(plan)
    work = _Work([cell for cell in plan.cells if cell.key not in done], done)
    work.pictures = len(done) * plan.settings.pictures
    runner = _Runner(plan, host, live, store, work, report or _silent, on_cell)
    stopped = False
    try:
        while work.pending:
            (progress or _silent)(work.pictures, runner.total, work.pending[0].label)
            runner.turn()
        (progress or _silent)(runner.total, runner.total, "")
    except Stopped:
        if not done:
            raise
        stopped = bool(work.pending)
    cells = tuple(done[cell.key] for cell in plan.cells if cell.key in done)
    return StudyResult(plan, cells, folder, stopped, time.monotonic() - start)


def _silent(done: int, total: int, text: str) -> None:
    """Nobody wants to know."""


@dataclass
class _Runner:
    """Takes turns with the host's lock: one merge, as many of its cells as fit into the turn, weights put back."""

    plan: Plan
    host: Host
    live: Callable[[], LiveWeights]
    store: CellStore
    work: _Work
    report: Progress
    on_cell: Callable[[CellResult], None] | None = None

    @property
    def total(self) -> int:
        """Pictures of the whole study."""
        return len(self.plan.cells) * self.plan.settings.pictures

    def turn(self) -> None:
        """Hold the lock, write the merge of the next cell, draw its cells until time is up, put the weights back."""
        first = self.work.pending[0]
        with self.host.lock():
            self.host.load(self.plan.settings.models["a"])
            start = time.monotonic()
            with self.live().temporarily(self.plan.recipe(first)):
                hold = max(HOLD_SECONDS, HOLD_APPLIES * (time.monotonic() - start))
                while True:
                    self.batch()
                    late = time.monotonic() - start >= hold
                    if late or not self.work.pending or not self._same_weights(first):
                        return

    def _same_weights(self, first: Cell) -> bool:
        return self.plan.weights_key(self.work.pending[0]) == self.plan.weights_key(first)

    def batch(self) -> None:
        """Draw the next few pictures of the cell under way, and finish it when it has all."""
        cell, work = self.work.pending[0], self.work
        requests = self.plan.requests(cell)
        if not work.drawn:
            work.began = time.monotonic()
        here = requests[len(work.drawn) : len(work.drawn) + self.plan.settings.batch]
        pictures = self.host.generate(here, progress=lambda *_: self.report(work.pictures, self.total, cell.label))
        work.drawn += pictures
        work.pictures += len(pictures)
        if len(work.drawn) == len(requests):
            self._finish(cell, [request.prompt for request in requests])
        self.report(work.pictures, self.total, cell.label)

    def _finish(self, cell: Cell, prompts: list[str]) -> None:
        work, name = self.work, f"{CELLS_FOLDER}/{self.plan.slug(cell)}.png"
        scores = evaluate(self.plan.scores, work.drawn, prompts)
        images = [picture.image for picture in work.drawn]
        infotext = work.drawn[0].infotext
        sheet.save(sheet.tiles(images, self.plan.settings.thumbnail), self.store.folder / name, infotext)
        result = CellResult(cell, scores, name, infotext, time.monotonic() - work.began)
        self.store.append(self.plan, result)
        work.done[cell.key] = result
        work.drawn = []
        work.pending.pop(0)
        if self.on_cell is not None:
            self.on_cell(result)


def evaluate(scores: Mapping[str, Score], pictures: Sequence[Picture], prompts: list[str]) -> dict[str, ScoreValues]:
    """Every score of these pictures; Failed names the score that broke."""
    array = np.stack([np.asarray(picture.image.convert("RGB")) for picture in pictures])
    values = {}
    for name, score in scores.items():
        try:
            values[name] = score.function(array, list(prompts))
        except AstolfoError:
            raise
        except (ValueError, IndexError, KeyError, ArithmeticError) as error:
            raise Failed(f"score {name}: {error}") from error
    return values
