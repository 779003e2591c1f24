"""A study as the page on which its pictures are looked at needs it: plain JSON, nothing of it HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lib_astolfo.scoring.score import ScoreValues
from lib_astolfo.search import agreeing
from lib_astolfo.search.axes import AXES, show
from lib_astolfo.search.kept import Kept
from lib_astolfo.search.plan import Cell, Plan
from lib_astolfo.search.sheet import tiles_across
from lib_astolfo.search.store import SEARCH, CellResult, pictures_folder
from lib_astolfo.search.study import StudyResult
from lib_astolfo.search.votes import SCENES, cell_id, with_votes


def view(kept: Kept) -> dict[str, Any]:
    """The study in its folder as far as it is; see ``view_of``."""
    if not kept.cells():
        return view_of(StudyResult(kept.plan, (), kept.folder), whole=kept.kind != SEARCH)
    return view_of(kept.result(), whole=kept.kind != SEARCH)


def view_of(result: StudyResult, *, whole: bool = True) -> dict[str, Any]:
    """Axes with their values in words; cells with their places on them, pictures, scores (the votes too), infotexts.

    ``whole``: every combination of the axes is planned. A cell's ``picture`` is a sheet of ``pictures`` tiles in rows
    of ``across``, ``own`` the folder of these pictures in full size, where the study keeps them; ``scenes`` are their
    prompts and first seeds. A score is [mean, error, each or null]; ``failed`` are the detectors that warn.
    """
    result = with_votes(result)
    plan, best = result.plan, result.best()
    scenes: dict[str, dict[str, Any]] = {}
    numbers: dict[str, int] = {}
    cells = []
    for one in result.cells:
        scene = _scene(plan, one.cell)
        key = repr(scene)
        scenes.setdefault(key, scene)
        numbers.setdefault(key, len(numbers))
        failed = {score.name: round(share, 3) for score, share in agreeing.failures(one, result)}
        cells.append(_cell(plan, one) | {"scene": numbers[key], "failed": failed})
    return {
        "title": " + ".join(_stem(name) for name in plan.settings.models.values()),
        "axes": [_axis(name, values) for name, values in plan.axes.items()],
        "pictures": plan.settings.pictures,
        "across": tiles_across(plan.settings.pictures),
        "scenes": list(scenes.values()),
        "scores": [{"name": score.name, "better": score.better, "help": score.help} for score in plan.scores.values()],
        "primary": None if plan.primary is None else plan.primary.name,
        "best": None if best is None else cell_id(best),
        "planned": len(plan.cells) if whole else None,
        "cells": cells,
    }


def _stem(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".safetensors")


def _axis(name: str, values: Sequence[Any]) -> dict[str, Any]:
    axis = AXES[name]
    shown = [{"text": show(value), "label": axis.label(value)} for value in values]
    return {"name": name, "words": axis.words or name, "help": axis.help, "values": shown}


def _cell(plan: Plan, one: CellResult) -> dict[str, Any]:
    return {
        "id": cell_id(one),
        "at": [list(values).index(one.cell.values[name]) for name, values in plan.axes.items()],
        "label": one.cell.label,
        "picture": one.picture,
        "own": pictures_folder(one.picture) if plan.settings.sub_images else None,
        "infotext": one.infotext,
        "scores": {name: _score(value) for name, value in one.scores.items()},
    }


def _score(value: ScoreValues) -> list[Any]:
    each = None if value.each is None else [_finite(float(one)) for one in value.each]
    return [_finite(value.mean), _finite(value.error), each]


def _finite(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _scene(plan: Plan, cell: Cell) -> dict[str, Any]:
    """The prompts and seeds of a cell's pictures, as short as they can be told: prompts are taken in turn."""
    values: Mapping[str, Any] = {name: value for name, value in cell.values.items() if name in SCENES}
    prompts = [values["prompt"]] if "prompt" in values else list(plan.settings.prompts)
    first = plan.requests(cell)[0].seed if plan.settings.vary_seeds else values.get("seed", plan.settings.seed)
    return {"prompts": prompts, "seed": first}
