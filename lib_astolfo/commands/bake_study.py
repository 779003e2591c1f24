"""``bake study=NAME``: the best cell of a grid or a search as a file, with what it rests on in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import study_cells

if TYPE_CHECKING:
    from lib_astolfo.jobs import Job
    from lib_astolfo.search.store import CellResult

    from .bake import BakeSettings
    from .study_cells import Found
    from .workspace import Workspace

STUDY = "astolfo.study"  # the header entry, a JSON object


def products(settings: BakeSettings, workspace: Workspace) -> list[BakeSettings]:
    """The settings of what is baked, each a recipe with its evidence: one file, or with ``under=each`` one for every
    uncond of the study. Errors: BadInput naming the key, or what cannot be baked."""
    found = study_cells.find(workspace, settings.study, settings.study_name)
    study_cells.check_files(found, workspace)
    if settings.under.strip().lower() != study_cells.EACH:
        return [_product(settings, found, settings.under.strip())]
    if settings.cell:
        raise BadInput("under", "each, beside cell", "one of them")
    names = study_cells.unconds(found)
    made = [_product(settings, found, under) for under in names]
    return [replace(one, output=_apart(one, under, workspace)) for one, under in zip(made, names, strict=True)]


def _product(settings: BakeSettings, found: Found, under: str) -> BakeSettings:
    from lib_astolfo.search import outcome

    from .bake import with_recipe

    chosen = study_cells.cell_of(found, settings.cell, under)
    made = outcome.product(found.result.plan, chosen)
    if made["recipe"] is None:
        raise _nothing(found, chosen)
    settings = replace(
        settings,
        study="",
        cell="",
        under="",
        study_name=type(settings).study_name,
        sampling=settings.sampling or made["sampling"],
        uncond=settings.uncond or made["uncond"],
        evidence=study_cells.evidence(found, chosen, under),
    )
    return with_recipe(settings, made["recipe"])


def _nothing(found: Found, chosen: CellResult) -> BadInput:
    """Prompts, samplers, steps and the like are no weights."""
    values = ", ".join(found.result.plan.axes)
    expected = "a study over ratio, blocks, models, snapshots or LoRA weights; how a model is read or drawn stands in "
    expected += "its yaml and in the study's report"
    return BadInput("study", f"nothing to bake in {chosen.cell.label}: it is one model, drawn over {values}", expected)


def _apart(settings: BakeSettings, under: str, workspace: Workspace) -> str:
    """A name of its own for each of several files."""
    from lib_astolfo.search.files import safe

    from .merge import output_name, recipe_of

    stem = output_name(recipe_of(settings), settings.output).removesuffix(".safetensors")
    return f"{stem}-{safe(under)}"


def of_job(job: Job, winner: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    """What the study in a job's folder says of the job's winner; {} where none lies there any more."""
    with suppress(BadInput):
        found = study_cells.find(workspace, job.id)
        chosen = study_cells.cell_of(found, "", "")
        if chosen.cell.label == winner.get("label"):
            return study_cells.evidence(found, chosen)
    return {}


def header(evidence: Mapping[str, Any]) -> dict[str, str]:
    """The header entry, and a line for people where files are listed; {} without a study."""
    if not evidence:
        return {}
    return {STUDY: json.dumps(dict(evidence), sort_keys=True, ensure_ascii=False)}
