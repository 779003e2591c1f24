"""What a study has found as JSON: what jobs, REST and ``--json`` hand on; the files are written by ``files``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lib_astolfo.scoring.score import Score, ScoreValues
from lib_astolfo.search import agreeing, findings, surface, table
from lib_astolfo.search.axes import AXES, plain, show
from lib_astolfo.search.plan import Plan
from lib_astolfo.search.store import CellResult
from lib_astolfo.search.study import StudyResult
from lib_astolfo.search.verdict import Sentence, Verdict


def recipe_text(result: StudyResult) -> str:
    """The winner's recipe as YAML, headed by a comment that says under what it is meant to be used; "" without one."""
    best = result.best()
    recipe = None if best is None else result.plan.recipe(best.cell)
    if best is None or recipe is None:
        return ""
    reading = result.plan.sampling_of(best.cell).describe()
    return f"# found with {best.cell.label}, read as {reading}\n{recipe.to_yaml()}"


def winner(result: StudyResult) -> dict[str, Any] | None:
    """The winning cell and all that is needed to bake and to use it, as JSON holds it."""
    best = result.best()
    return None if best is None else product(result.plan, best)


def product(plan: Plan, result: CellResult) -> dict[str, Any]:
    """A cell and all that is needed to bake and to use it; ``advice``: what a file cannot hold, but its header tell."""
    cell = result.cell
    recipe, request = plan.recipe(cell), plan.requests(cell)[0]
    advice = {name: getattr(request, name) for name in ("sampler", "schedule", "steps", "cfg", "cfg_rescale")}
    advice |= {name: value for name in ("width", "height", "negative") if (value := getattr(request, name))}
    if "prompt" in cell.values:
        advice["prompt"] = request.prompt
    return {
        "label": cell.label,
        "key": cell.key,
        "recipe": None if recipe is None else recipe.to_dict(),
        "sampling": plan.sampling_of(cell).to_dict(),
        "uncond": plan.uncond_of(cell).to_dict(),
        "cfg": request.cfg,
        "advice": {name: value for name, value in advice.items() if value not in ("", 0.0)},
        "scores": _scores(result.scores),
        "picture": result.picture,
    }


def as_dict(result: StudyResult, verdict: Verdict, files: Mapping[str, str], *more: Sentence) -> dict[str, Any]:
    """The whole result as JSON; numbers that are not finite are null."""
    primary = result.plan.primary
    return {
        "winner": winner(result),
        "products": [
            {"under": show(one.uncond), **product(result.plan, one.best)} for one in _products(result, primary)
        ],
        "verdict": {
            "headline": verdict.headline,
            "sentences": [{"kind": s.kind, "level": s.level, "text": s.text} for s in (*more, *verdict.sentences)],
        },
        "optima": [] if primary is None else [_optimum(curve) for curve in findings.curves(result, primary)],
        "primary": None if primary is None else primary.name,
        "cells": [cell_as_dict(cell) for cell in result.cells],
        "files": dict(files),
        "table": table.text(result, primary) if primary is not None else "",
        "agreements": agreeing.as_dict(result),
        "stopped": result.stopped,
        "seconds": round(result.seconds, 2),
    }


def _products(result: StudyResult, primary: Score | None) -> list[surface.Product]:
    return [] if primary is None else surface.products(result, primary)


def _optimum(curve: findings.Curve) -> dict[str, Any]:
    best = curve.optimum
    where = {"where": curve.title, "values": {name: plain(value) for name, value in curve.others.items()}}
    if best is None:
        return where
    figures = {"ratio": best.position, "low": best.low, "high": best.high, "measured": best.best, "kind": best.kind}
    return {**where, **{k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}}


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """What a page needs to show the cells of a study as they come: axes, scores with their better sides."""
    axes = {
        name: [{"value": plain(value), "label": show(value)} for value in values] for name, values in plan.axes.items()
    }
    return {
        "axes": axes,
        "words": {name: axis.words or name for name, axis in AXES.items()},
        "scores": {name: score.better for name, score in plan.scores.items()},
        "primary": None if plan.primary is None else plan.primary.name,
        "pictures": plan.settings.pictures,
    }


def cell_as_dict(cell: CellResult) -> dict[str, Any]:
    """A finished cell as JSON: values (as they are shown too), scores, the sheet of its pictures, seconds it took."""
    return {
        "label": cell.cell.label,
        "values": {name: plain(value) for name, value in cell.cell.values.items()},
        "shown": {name: show(value) for name, value in cell.cell.values.items()},
        "scores": _scores(cell.scores),
        "picture": cell.picture,
        "seconds": round(cell.seconds, 3),
    }


def _scores(scores: Mapping[str, ScoreValues]) -> dict[str, Any]:
    return {name: {"mean": _finite(value.mean), "error": _finite(value.error)} for name, value in scores.items()}


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
