"""Everything that is looked at while a model is trained, behind one object that the loop calls between steps.

The loop asks ``due`` and then hands in what it takes to look: a network, a way to draw. What was seen is a row of the
history, and everything else follows from the rows: detectors, event files, figures. ``cut`` takes the run's folder back
to a step; a run that is taken up from there writes the same bytes as one that was never cut short.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints import files
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.pictures import Pictures
from lib_astolfo.training.bins import EDGES
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.run.seen import StepSeen
from lib_astolfo.training.watch import collapse, drift, levels, validation
from lib_astolfo.training.watch.alarms import Alarm
from lib_astolfo.training.watch.board import Board
from lib_astolfo.training.watch.guards import Detectors
from lib_astolfo.training.watch.history import History, Row
from lib_astolfo.training.watch.previews import Album, Draw
from lib_astolfo.training.watch.settings import Guards, Previews, Watching
from lib_astolfo.training.watch.sheet import write_sheet
from lib_astolfo.training.watch.spectrum import spectrum
from lib_astolfo.training.watch.validation import Looked, Network

SPECTRUM = "spectrum.json"
KINDS = ("validation", "drift", "preview")


class Watch:
    """``folder``: of the run. One process of a run has one; the others have none."""

    def __init__(
        self, folder: Path, watching: Watching, guards: Guards, previews: Previews, *, objective: Objective
    ) -> None:
        self.folder, self.settings, self.guards, self.previews = folder, watching, guards, previews
        self.objective = objective
        self.history = History(folder)
        self.album = Album(folder, previews, objective.sampling)
        self._board = Board(folder, watching)
        self._measure = levels.Measure(objective, None)
        self._read()

    def start(self, latents: Callable[[], Sequence[Tensor]]) -> None:
        """Before the first step and after every resumption. ``latents``: some hundred scaled ones [C, h, w] of the
        data set, asked for once in a run; what they spread like is kept in the folder."""
        path = self.folder / SPECTRUM
        if not path.exists():
            found = spectrum(list(latents()))
            files.write_text(path, json.dumps(found.tolist()))
        held = torch.tensor(json.loads(path.read_text("utf-8")), dtype=torch.float64)
        self._measure = levels.Measure(self.objective, held)
        if not any(True for _ in self.history.rows("start")):
            said = {"measure": self._measure.name, "edges": EDGES, "objective": self.objective.sampling.describe()}
            self._take({"kind": "start", "step": 0, **said})

    def due(self, kind: str, done: int, *, last: bool = False) -> bool:
        """Whether a measurement (``KINDS``) should be made now that ``done`` steps are, and has not been yet."""
        every = {
            "validation": self.settings.validation.every,
            "drift": self.settings.drift.every,
            "preview": self.previews.every,
        }[kind]
        if not every or done in self._made[kind]:
            return False
        first = done == 0 and (kind != "preview" or self.previews.at_start)
        return first or last or (done > 0 and done % every == 0)

    def step(self, seen: StepSeen) -> list[Alarm]:
        """Note a step; alarms in the order they were found (``alarms.worst`` says which to act on)."""
        self._board.speed(seen.step + 1, seen.seconds, len(seen.names))
        return self._take(levels.row(seen, self._measure))

    def validate(
        self, done: int, network: Network, sets: Mapping[str, Sequence[Looked]], batch: int = 8
    ) -> list[Alarm]:
        """Look at ``sets``: ``held_out``, then ``trained``, then any others; empty ones are passed over."""
        sampling, settings, rows = self.objective.sampling, self.settings.validation, []
        for name, items in sets.items():
            if items:
                errors = validation.measure(network, items, sampling, settings, batch=batch)
                rows.append(validation.row(name, done, errors, sampling, settings, self._measure.spectrum))
        return self._all("validation", done, rows)

    def drift(
        self, done: int, network: Network, pictures: Pictures, unconds: Mapping[str, Conditioning]
    ) -> list[Alarm]:
        """Compare zero with null (``diffusion.probe_uncond``). ``unconds``: one row each of zero, null and comma."""
        row = drift.measure(network, pictures, unconds, self.objective.sampling, self.settings.drift)
        return self._all("drift", done, [{"kind": "drift", "step": done, **row}])

    def preview(self, done: int, draw: Draw) -> list[Alarm]:
        """Draw pictures, put them on the contact sheet, and look whether they have collapsed."""
        drawn = self.album.draw(done, draw)
        base, rows = collapse.features(self.album.base()), []
        for ratio, paths in drawn.items():
            said = collapse.judge(collapse.features(paths), base, self.guards.collapse_strength)
            rows.append({"kind": "preview", "step": done, "ratio": ratio, **said})
        self._board.sheet(write_sheet(self.album), done)
        return self._all("preview", done, rows)

    def cut(self, done: int) -> None:
        """Take everything back to the state after ``done`` steps; to be called when a run is taken up, too."""
        self.history.cut(done)
        self.album.cut(done)
        self._board.cut(done)
        self._read()
        if self.album.steps():
            write_sheet(self.album)

    def reset(self) -> None:
        """Forget everything: a run begins in this folder, whatever another one left here."""
        self.cut(-1)
        shutil.rmtree(self.album.folder, ignore_errors=True)
        (self.folder / SPECTRUM).unlink(missing_ok=True)

    def rolled_back(self, alarm: Alarm, done: int) -> None:
        """After ``cut``: say in the history why, and from where."""
        said = {"from": alarm.step, "alarm": alarm.kind, "text": alarm.text}
        self._take({"kind": "rollback", "step": done, **said})

    def sync(self) -> None:
        """Everything on the disk, before a checkpoint is written."""
        self.history.sync()

    def close(self) -> None:
        """Let go of the files."""
        self.history.close()

    def _read(self) -> None:
        """Make the detectors' state from the history."""
        self._detectors = Detectors(self.guards, self.settings.window)
        self._made: dict[str, set[int]] = {kind: set() for kind in KINDS}
        for row in self.history.rows():
            self._detectors.take(row)
            if row["kind"] in self._made:
                self._made[row["kind"]].add(row["step"])

    def _all(self, kind: str, done: int, rows: Sequence[Mapping[str, Any]]) -> list[Alarm]:
        """The rows of a measurement that was made to its end."""
        self._made[kind].add(done)
        return [alarm for row in rows for alarm in self._take(row)]

    def _take(self, row: Mapping[str, Any]) -> list[Alarm]:
        written: Row = self.history.append(row)
        self._board.row(written)
        alarms = self._detectors.take(written)
        for alarm in alarms:
            said = {"kind": "alarm", "step": alarm.step, "alarm": alarm.kind, "text": alarm.text}
            self.history.append({**said, "action": alarm.action})
        return alarms
