"""The finished cells of a study on disk: one line of JSON each, appended and flushed, so that nothing made is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib_astolfo.scoring.score import ScoreValues
from lib_astolfo.search.plan import Cell, Plan

CELLS_FILE = "cells.jsonl"


@dataclass(frozen=True)
class CellResult:
    """A finished cell: its scores, the sheet of its pictures (a name in the study's folder) and its infotext."""

    cell: Cell
    scores: Mapping[str, ScoreValues]
    picture: str = ""
    infotext: str = ""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The line in the file."""
        return {
            "key": self.cell.key,
            "label": self.cell.label,
            "scores": {name: _values_to_dict(values) for name, values in self.scores.items()},
            "picture": self.picture,
            "infotext": self.infotext,
            "seconds": round(self.seconds, 3),
        }


def _values_to_dict(values: ScoreValues) -> dict[str, Any]:
    each = None if values.each is None else [float(f"{value:.7g}") for value in values.each]
    return {"mean": values.mean, "error": values.error, "each": each}


def _values_from_dict(data: Mapping[str, Any]) -> ScoreValues:
    each = None if data["each"] is None else np.asarray(data["each"], dtype=np.float64)
    return ScoreValues(float(data["mean"]), float(data["error"]), each)


def result_from_dict(cell: Cell, names: Iterable[str], data: Mapping[str, Any]) -> CellResult:
    """A line of the file as a result, with those of these scores that it has."""
    scores = {name: _values_from_dict(data["scores"][name]) for name in names if name in data["scores"]}
    return CellResult(cell, scores, data["picture"], data["infotext"], data["seconds"])


class CellStore:
    """Reads and appends the cells of one folder. A cell counts only under the fingerprint of the same study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / CELLS_FILE

    def read(self, plan: Plan) -> dict[str, CellResult]:
        """Finished cells of this plan by key; a line torn by a crash, or one of another study, is passed over."""
        cells = {cell.key: cell for cell in plan.cells}
        found: dict[str, CellResult] = {}
        for line in self._lines():
            cell = cells.get(line["key"]) if line.get("study") == plan.fingerprint else None
            if cell is None or not set(plan.scores) <= set(line["scores"]):
                continue
            if line["picture"] and not (self.folder / line["picture"]).is_file():
                continue
            found[cell.key] = result_from_dict(cell, plan.scores, line)
        return found

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        for row in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                line = json.loads(row)
            except ValueError:
                continue
            if isinstance(line, dict) and {"key", "scores", "picture", "infotext", "seconds"} <= set(line):
                yield line

    def append(self, plan: Plan, result: CellResult) -> None:
        """Add a cell and flush it to the disk; a torn last line is closed first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"study": plan.fingerprint, **result.to_dict()}, ensure_ascii=False)
        with open(self.path, "ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(line.encode("utf-8") + b"\n")
            file.flush()
            os.fsync(file.fileno())
