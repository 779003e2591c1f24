"""Draws cells with the loaded model, its weights merged live: one turn with the host's lock at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lib_astolfo.errors import AstolfoError, Failed
from lib_astolfo.hosts.base import Host, Picture
from lib_astolfo.scoring.score import Score, ScoreContext, ScoreValues
from lib_astolfo.search import sheet
from lib_astolfo.search.plan import Cell, Plan
from lib_astolfo.search.reference import References
from lib_astolfo.search.store import CellResult, pictures_folder

if TYPE_CHECKING:
    from lib_astolfo.merging.live import LiveWeights

CELLS_FOLDER = "cells"
HOLD_SECONDS = 10.0  # how long a lock is held at least that does not tell whether others wait for it
HOLD_APPLIES = 20.0  # … and at least so many times what writing the merge took, which bounds its share


class Cells(Protocol):
    """Where the cells come from and where they go. All of it is called under the host's lock and must not wait."""

    def take(self, near: Cell | None) -> Cell | None:
        """The next cell to draw, of the same weights as ``near`` rather than others; None: none for now."""

    def hopeless(self, cell: Cell, scores: Mapping[str, ScoreValues]) -> bool:
        """Whether drawing this cell should end after the first pictures, which have these scores."""

    def finish(self, result: CellResult) -> None:
        """Keep a cell that was taken. Its sheet of pictures is on the disk."""


@dataclass
class Drawer:
    """Takes turns with the host's lock: merges, as many of their cells as fit into the turn, weights put back.

    ``live()`` gives the live weights of the loaded model and is called under the host's lock each time before they are
    written. ``report`` is called under it too, and must not wait; it may raise Stopped, and the cell that is under way
    is then lost. ``look``: after how many pictures a cell may be found hopeless; 0: never. A turn ends with the batch
    that is under way when ``asked`` says that something is wanted (a pause), or others wait for the lock.
    """

    plan: Plan
    host: Host
    live: Callable[[], LiveWeights]
    folder: Path
    report: Callable[[int, str], None] = lambda count, text: None
    look: int = 0
    asked: Callable[[], bool] = lambda: False
    cell: Cell | None = None  # under way
    drawn: list[Picture] = field(default_factory=list)  # of it
    began: float = 0.0
    network: float = 0.0  # seconds in ``host.generate`` so far
    references: References = field(init=False)  # of the scores that compare, drawn in turns of their own

    def __post_init__(self) -> None:
        self.references = References(self.plan, self.host, self.live, self.folder, self.report)
        self.references.wanted = lambda lock: self._wanted(lock, 0.0)

    def turn(self, cells: Cells) -> bool:
        """Draw for a while; False if there was nothing to draw."""
        if self.cell is not None and self.references.missing(self.cell):
            self.references.turn(self.cell)
            return True
        with self.host.lock() as lock:
            if self.cell is None:
                self._start(cells.take(None))
            if self.cell is None:
                return False
            first = self.cell
            if self.references.missing(first):
                return True
            self.host.load(self.plan.models_of(first)["a"])
            start = time.monotonic()
            live = self.live()
            with live.temporarily(self.plan.recipe(first)):
                until = start + max(HOLD_SECONDS, HOLD_APPLIES * (time.monotonic() - start))
                while self.cell is not None and self._goes_on(first, self.cell):
                    held = self.cell
                    self._batch(cells)
                    if self.cell is not None and self._wanted(lock, until):
                        break
                    self._change(held)
        return True

    def _wanted(self, lock: Any, until: float) -> bool:
        """Whether somebody waits for the lock, or for this job; whether it is time, where a lock does not tell."""
        waiting = getattr(lock, "waiting", None)
        return self.asked() or (time.monotonic() >= until if waiting is None else waiting > 0)

    def _change(self, held: Cell) -> None:
        """Write the weights of the cell under way where they are others than those of ``held``."""
        cell = self.cell
        if cell is None or self._base(cell) != self._base(held):
            return
        if self.plan.weights_key(cell) != self.plan.weights_key(held):
            recipe, live = self.plan.recipe(cell), self.live()
            live.restore() if recipe is None else live.apply(recipe)

    def _goes_on(self, first: Cell, cell: Cell) -> bool:
        """Whether a cell can be drawn in the turn that began with the first one."""
        return self._base(cell) == self._base(first) and not self.references.missing(cell)

    def _base(self, cell: Cell) -> str:
        return self.plan.models_of(cell)["a"]

    def _start(self, cell: Cell | None) -> None:
        self.cell, self.drawn, self.began = cell, [], time.monotonic()

    def _batch(self, cells: Cells) -> None:
        """Draw the next few pictures of the cell under way, and finish it when it has all or is hopeless."""
        cell, text = self.cell, "" if self.cell is None else self.cell.label
        if cell is None:
            return
        requests = self.plan.requests(cell)
        end = len(self.drawn) + self.plan.settings.batch
        if len(self.drawn) < self.look < end:
            end = self.look
        before = time.monotonic()
        made = self.host.generate(requests[len(self.drawn) : end], progress=lambda *_: self.report(0, text))
        self.network += time.monotonic() - before
        self.drawn += made
        hopeless = False
        if len(self.drawn) == self.look < len(requests):
            prompts = [request.prompt for request in requests[: self.look]]
            hopeless = cells.hopeless(cell, self._scores(cell, prompts))
        if hopeless or len(self.drawn) == len(requests):
            self._finish(cells, cell, [request.prompt for request in requests[: len(self.drawn)]])
        self.report(len(made), text)

    def _finish(self, cells: Cells, cell: Cell, prompts: list[str]) -> None:
        name = f"{CELLS_FOLDER}/{self.plan.slug(cell)}.png"
        scores = self._scores(cell, prompts)
        images = [picture.image for picture in self.drawn]
        infotext = self.drawn[0].infotext
        if self.plan.settings.sub_images:
            for index, picture in enumerate(self.drawn, 1):
                own = self.folder / pictures_folder(name) / f"{index:04d}-{picture.request.seed}.png"
                sheet.save(picture.image, own, picture.infotext)
        sheet.save(sheet.tiles(images, self.plan.settings.thumbnail), self.folder / name, infotext)
        cells.finish(CellResult(cell, scores, name, infotext, time.monotonic() - self.began))
        self._start(cells.take(cell))

    def _scores(self, cell: Cell, prompts: list[str]) -> dict[str, ScoreValues]:
        """Of the pictures drawn so far; before they are all there, those alone that need no more."""
        context = self.references.of(cell).first(len(prompts))
        few = len(prompts) < self.plan.settings.pictures
        return evaluate(self.plan.scores, self.drawn, prompts, context, least=few)


def evaluate(
    scores: Mapping[str, Score],
    pictures: Sequence[Picture],
    prompts: list[str],
    context: ScoreContext | None = None,
    *,
    least: bool = False,
) -> dict[str, ScoreValues]:
    """Every score of these pictures; Failed names the score that broke. ``least``: those alone that need no more."""
    array = np.stack([np.asarray(picture.image.convert("RGB")) for picture in pictures])
    values = {}
    for name, score in scores.items():
        if least and score.least > len(pictures):
            continue
        try:
            values[name] = score.measure(array, prompts, context)
        except AstolfoError:
            raise
        except (ValueError, IndexError, KeyError, ArithmeticError) as error:
            raise Failed(f"score {name}: {error}") from error
    return values
