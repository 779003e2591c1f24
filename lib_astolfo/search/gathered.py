"""The cells of a search as a study, so that all that is said about grids can be said about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib_astolfo.search.axes import AXES, expand
from lib_astolfo.search.plan import Cell, Plan
from lib_astolfo.search.store import CellResult
from lib_astolfo.search.study import StudyResult

SHOWN = 24  # cells of a search over many ratios that are shown: a table of all would say little


def gathered(
    plan: Plan, cells: Sequence[CellResult], folder: Path, *, stopped: bool = False, seconds: float = 0.0
) -> StudyResult:
    """A study of these cells. Its axes have the values that were tried; where only some cells name an axis (a CFG that
    was looked at besides), the others get the study's own value."""
    names = list(dict.fromkeys([*plan.axes, *(name for result in cells for name in result.cell.values)]))
    full = [replace(result, cell=_full(plan, result.cell, names)) for result in cells]
    axes = {name: _values(plan, name, [result.cell for result in full]) for name in names}
    laid = replace(plan, axes=dict(sorted(axes.items(), key=lambda item: -AXES[item[0]].cost)))
    order = {name: list(values) for name, values in laid.axes.items()}
    full.sort(key=lambda result: [order[name].index(result.cell.values[name]) for name in laid.axes])
    ordered = [replace(one, cell=replace(one.cell, values={n: one.cell.values[n] for n in laid.axes})) for one in full]
    return StudyResult(
        replace(laid, cells=tuple(one.cell for one in ordered)), tuple(ordered), folder, stopped, seconds
    )


def _full(plan: Plan, cell: Cell, names: Sequence[str]) -> Cell:
    missing: dict[str, Any] = {name: own(plan, name) for name in names if name not in cell.values}
    return replace(cell, values={**missing, **cell.values}) if missing else cell


def own(plan: Plan, name: str) -> Any:
    """The value that the study has where an axis does not say otherwise."""
    return expand(name, [getattr(plan.settings, name)])[0]


def _values(plan: Plan, name: str, cells: Sequence[Cell]) -> tuple[Any, ...]:
    """The values that were tried: numbers rising, others in the order of the plan and then of the cells."""
    found = list(dict.fromkeys([*plan.axes.get(name, ()), *(cell.values[name] for cell in cells)]))
    found = [value for value in found if any(cell.values[name] == value for cell in cells)]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in found):
        found.sort()
    return tuple(found)


def best_of(result: StudyResult, count: int = SHOWN) -> StudyResult:
    """The best cells alone, where there are more than can be shown and no curve to draw through them."""
    score = result.plan.primary
    if score is None or len(result.cells) <= count or "blocks" not in result.plan.axes:
        return result
    order = np.argsort([float(score.loss(cell.scores[score.name].mean)) for cell in result.cells], kind="stable")
    chosen = [result.cells[index] for index in order[:count]]
    laid = gathered(result.plan, chosen, result.folder, stopped=result.stopped, seconds=result.seconds)
    rank = {cell.cell.values["blocks"]: index for index, cell in reversed(list(enumerate(chosen)))}
    axes = {**laid.plan.axes, "blocks": tuple(sorted(laid.plan.axes["blocks"], key=lambda value: rank[value]))}
    return replace(laid, plan=replace(laid.plan, axes=axes))
