"""A study on disk: what its cells share, and a line of JSON for every finished one, flushed so that nothing is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lib_astolfo.scoring.score import ScoreValues
from lib_astolfo.search.axes import plain
from lib_astolfo.search.plan import Cell, Plan
from lib_astolfo.search.settings import StudySettings

CELLS_FILE = "cells.jsonl"
PICTURES_FOLDER = "pictures"
STUDY = "study.json"
VERSION = 1
GRID, SEARCH = "grid", "search"  # whose cells are all planned, and whose cells come as it goes on
MEASURES = ("name", "better", "unit", "help", "limit", "least", "alarm")  # of a score, without its function


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


def pictures_folder(name: str) -> str:
    """Where the pictures of a cell are, each by itself, where a study keeps them so; ``name``: of the cell's sheet."""
    return f"{PICTURES_FOLDER}/{Path(name).stem}"


class CellStore:
    """Reads and appends the cells of one folder. A cell counts only under the fingerprint of the same study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / CELLS_FILE

    def read(self, plan: Plan) -> dict[str, CellResult]:
        """Finished cells of this plan by key; a line torn by a crash, or one of another study, is passed over."""
        cells = {cell.key: cell for cell in plan.cells}
        found: dict[str, CellResult] = {}
        for line in self.lines():
            cell = cells.get(line["key"]) if line.get("study") == plan.fingerprint else None
            if cell is None or not set(plan.scores) <= set(line["scores"]):
                continue
            if line["picture"] and not (self.folder / line["picture"]).is_file():
                continue
            if plan.settings.sub_images and not (self.folder / pictures_folder(line["picture"])).is_dir():
                continue
            found[cell.key] = result_from_dict(cell, plan.scores, line)
        return found

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines of all studies that were drawn into this folder, as they came."""
        wanted = {"key", "scores", "picture", "infotext", "seconds"}
        return (line for line in read_lines(self.path) if wanted <= set(line))

    def begin(self, plan: Plan, kind: str) -> set[str]:
        """Keep what the cells share (``kept`` reads it): the file is complete, or the one from before.

        Returns the keys of the cells that have lines here already.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{STUDY}.part"
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(_study_to_dict(plan, kind), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / STUDY)
        return {line["key"] for line in self.lines() if line.get("study") == plan.fingerprint}

    def append(self, plan: Plan, result: CellResult) -> None:
        """Add a cell and flush it to the disk; a torn last line is closed first."""
        append_line(self.path, {"study": plan.fingerprint, **result.to_dict()})


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Add a line of JSON to a file and flush it to the disk; a torn last line is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(dict(values), ensure_ascii=False)
    with open(path, "ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of such a file; one that was torn by a crash is passed over."""
    if not path.exists():
        return
    for row in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            line = json.loads(row)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line


def _study_to_dict(plan: Plan, kind: str) -> dict[str, Any]:
    return {
        "version": VERSION,
        "kind": kind,
        "fingerprint": plan.fingerprint,
        "settings": {field.name: _plain(getattr(plan.settings, field.name)) for field in fields(StudySettings)},
        "axes": {name: [plain(value) for value in values] for name, values in plan.axes.items()},
        "scores": [{name: getattr(score, name) for name in MEASURES} for score in plan.scores.values()],
        "primary": None if plan.primary is None else plan.primary.name,
        "sampling": plan.sampling.to_dict(),
        "natural": plan.natural.to_dict(),
        "identity": dict(plan.identity),
        "naturals": {name: sampling.to_dict() for name, sampling in plan.naturals.items()},
    }


def _plain(value: Any) -> Any:
    """As JSON holds it: mappings, lists and the values of axes."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return plain(value)
