"""A study as it lies in its folder: what it was planned as, and its cells, read without any of its models.

``study.json`` is written when a study begins and holds all that its cells share; ``cells.jsonl`` has a line for every
finished cell. Both are complete at any moment, so that a study can be looked at while it runs.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib_astolfo.errors import Failed, Unknown
from lib_astolfo.scoring.score import Score, ScoreValues
from lib_astolfo.search.axes import AXES, parse_prediction, parse_sampling
from lib_astolfo.search.gathered import gathered
from lib_astolfo.search.plan import Cell, Plan
from lib_astolfo.search.settings import StudySettings
from lib_astolfo.search.store import (
    CELLS_FILE,
    MEASURES,
    SEARCH,
    STUDY,
    CellResult,
    CellStore,
    result_from_dict,
)
from lib_astolfo.search.study import StudyResult


@dataclass(frozen=True)
class Kept:
    """A study's plan. ``kind``: ``grid``, whose cells are all planned, or ``search``, whose cells come as it goes on.

    ``fingerprint`` marks the lines of its cells.
    """

    folder: Path
    kind: str
    fingerprint: str
    plan: Plan

    def cells(self) -> tuple[CellResult, ...]:
        """The finished cells whose pictures are there: a grid's in the order of its plan, a search's as they came."""
        found: dict[str, CellResult] = {}
        for line in CellStore(self.folder).lines():
            if line.get("study") != self.fingerprint or not set(self.plan.scores) <= set(line["scores"]):
                continue
            if (self.folder / line["picture"]).is_file():
                cell = cell_of(line["key"], len(found))
                found[cell.key] = result_from_dict(cell, self.plan.scores, line)
        if self.kind == SEARCH:
            return tuple(found.values())
        return tuple(replace(one, cell=cell) for cell in self.plan.cells if (one := found.get(cell.key)) is not None)

    def result(self) -> StudyResult:
        """The study as far as it is. Errors: Unknown without a finished cell."""
        cells = self.cells()
        if not cells:
            raise Unknown("study", f"{self.folder.name} has no finished cell", "a study that has begun to draw")
        if self.kind == SEARCH:
            return gathered(self.plan, cells, self.folder)
        return StudyResult(self.plan, cells, self.folder, stopped=len(cells) < len(self.plan.cells))

    @property
    def mark(self) -> str:
        """Another text whenever the study was changed."""
        try:
            return f"{self.fingerprint}-{(self.folder / CELLS_FILE).stat().st_size}"
        except OSError:
            return f"{self.fingerprint}-0"


def is_study(folder: Path) -> bool:
    """Whether a study lies here."""
    return (folder / STUDY).is_file()


def read(folder: Path) -> Kept:
    """The study in a folder. Errors: Unknown without one, Failed for a file that is no study's."""
    try:
        text = (folder / STUDY).read_text(encoding="utf-8")
    except OSError:
        expected = "the folder of a grid or a search (studies of earlier versions are drawn anew to be looked at)"
        raise Unknown("study", repr(folder.name), expected) from None
    try:
        values = json.loads(text)
        return Kept(folder, values["kind"], values["fingerprint"], _plan(values))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failed(f"{folder / STUDY} cannot be read ({error!r})") from error


def _plan(values: Mapping[str, Any]) -> Plan:
    known = {field.name for field in fields(StudySettings)}
    settings = StudySettings(**{name: value for name, value in values["settings"].items() if name in known})
    axes = {name: tuple(_value(name, one) for one in given) for name, given in values["axes"].items()}
    measured = [{name: one[name] for name in MEASURES if name in one} for one in values["scores"]]
    scores = {one["name"]: Score(function=_over, **one) for one in measured}
    combinations = itertools.product(*axes.values())
    cells = tuple(Cell(index, dict(zip(axes, combined, strict=True))) for index, combined in enumerate(combinations))
    return Plan(
        settings,
        axes,
        cells,
        scores,
        None if values["primary"] is None else scores[values["primary"]],
        parse_prediction("sampling", values["sampling"]),
        parse_sampling("natural", values["natural"]),
        values["identity"],
        {name: parse_sampling("naturals", one) for name, one in values["naturals"].items()},
    )


def _over(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    raise Failed("this study is read from its folder; its scores are measured where it is drawn")


def _value(name: str, given: Any) -> Any:
    return AXES[name].parse(f"axes.{name}", given)


def cell_of(key: str, index: int) -> Cell:
    """The cell of a line's key."""
    return Cell(index, {name: _value(name, value) for name, value in json.loads(key).items()})
