"""``bake``: the winner as a file that says what it is: recipe, prediction, uncond in its header, the yaml beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from lib_astolfo.errors import BadInput

from . import bake_study, live, merge, readings, train_after
from .merge import MergeSettings

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .workspace import Workspace

__all__ = ["BakeSettings", "check", "run", "show"]


@dataclass(frozen=True)
class BakeSettings(MergeSettings):
    """What to bake: a recipe by its keys or under ``recipe``, a job's winner, or, with none of these, what is live."""

    recipe: Any = None  # a recipe as a mapping, instead of its keys
    job: str = ""  # a grid or demo whose winner is baked
    sampling: Any = None  # how to sample it: `v ztsnr`, `rf shift 3`, or a mapping; empty: as winner or models say
    uncond: Any = ""  # what stands for no prompt: `null`, `average 0.7`, or a mapping; empty: as the winner says
    sidecar: bool = True  # write the yaml beside it
    training: str = ""  # a training, or its job, whose snapshot is baked into its base; `ratio` is 1 if not given
    snapshot: str = ""  # with training: the step of one of its snapshots; empty: the last
    study: str = ""  # a grid or search: its folder in the outputs, its job's id, or its URL; the best cell is baked
    study_name: str = "search"  # in the database, where study is a URL
    cell: str = ""  # of the study: another cell than the best, by its label (`ratio 0.75, CFG 4, zero uncond`)
    under: str = ""  # of the study: the best under this uncond (zero, null, …); each: a file for every one
    evidence: dict[str, Any] = field(default_factory=dict)  # what the header says of the study; filled in from it


def check(settings: BakeSettings, workspace: Workspace) -> BakeSettings:
    """The same settings with the recipe by its keys, so that what is queued does not depend on what happens meanwhile.

    A job's winner is ``result["winner"]``: a mapping with ``recipe`` and, if they were chosen, ``sampling`` and
    ``uncond``. Errors: BadInput.
    """
    given = [name for name in ("models", "recipe", "job", "source", "training", "study") if getattr(settings, name)]
    if len(given) > 1:
        raise BadInput(given[1], f"beside {given[0]}", f"either {' or '.join(given)}")
    _check_study(settings)
    if settings.study:
        _refuse_parts(settings, "study")
        found = [check(one, workspace) for one in bake_study.products(settings, workspace)]
        return found[0] if len(found) == 1 else settings
    if settings.training:
        settings = train_after.to_bake(settings, workspace)
    elif settings.snapshot:
        raise BadInput("snapshot", "without training", "training: the run that it is of")
    if "models" not in given:
        _refuse_parts(settings, given[0] if given else "the live merge")
    if settings.job:
        settings = _from_job(settings, workspace)
    elif not given:
        settings = with_recipe(settings, _live_recipe(workspace))
    elif settings.recipe:
        settings = with_recipe(settings, settings.recipe)
    settings = cast("BakeSettings", merge.with_source(settings, workspace))
    sampling = readings.read_sampling(settings.sampling)
    if sampling is not None and settings.source:
        recipe = merge.recipe_of(settings)
        recipe = replace(recipe, options={**recipe.options, "prediction": sampling.to_dict()})
        settings = replace(settings, source=recipe.to_yaml(), sampling=None)
    elif sampling is not None:
        options = {**settings.options, "prediction": sampling.to_dict()}
        settings = replace(settings, options=options, sampling=None)
    uncond = readings.read_uncond(settings.uncond)
    merged = merge.check(settings, workspace)
    return replace(settings, output=merged.output, uncond=uncond.to_dict() if uncond is not None else "")


def _refuse_parts(settings: BakeSettings, whole: str) -> None:
    """Parts of a recipe beside a whole one would do nothing, or change what was found to be the winner."""
    plain = BakeSettings()
    for name in live.RECIPE_KEYS:
        if getattr(settings, name) != getattr(plain, name):
            raise BadInput(name, f"beside {whole}", "it inside the recipe, or the recipe's own keys alone")


def _check_study(settings: BakeSettings) -> None:
    """What chooses a cell stands beside a study alone."""
    for name in ("cell", "under"):
        if getattr(settings, name) and not settings.study:
            raise BadInput(name, "without study", "study: the grid or search whose cell it is")
    if settings.evidence and settings.study:
        raise BadInput("evidence", "beside study", "the study alone, which fills it in")


def with_recipe(settings: BakeSettings, recipe: Any) -> BakeSettings:
    """The recipe by its keys. Errors: BadInput naming the key."""
    if not isinstance(recipe, Mapping):
        raise BadInput("recipe", repr(recipe), "a mapping with method, models, ratio, …")
    for name in recipe:
        if name not in (*live.RECIPE_KEYS, "output"):
            raise BadInput(f"recipe.{name}", "an unknown key", "one of " + ", ".join((*live.RECIPE_KEYS, "output")))
    values = {name: recipe[name] for name in live.RECIPE_KEYS if recipe.get(name) is not None}
    return replace(settings, recipe=None, output=settings.output or recipe.get("output") or "", **values)


def _from_job(settings: BakeSettings, workspace: Workspace) -> BakeSettings:
    job = workspace.jobs.get(settings.job)
    winner = (job.result or {}).get("winner")
    if not isinstance(winner, Mapping) or not winner.get("recipe"):
        found = "no winner" if job.over else f"it is {job.state}"
        raise BadInput(f"job {job.id}", found, "a finished grid or demo that has chosen one")
    settings = replace(
        settings,
        job="",
        sampling=settings.sampling or winner.get("sampling"),
        uncond=settings.uncond or winner.get("uncond") or "",
        evidence=settings.evidence or bake_study.of_job(job, winner, workspace),
    )
    return with_recipe(settings, winner["recipe"])


def _live_recipe(workspace: Workspace) -> dict[str, Any]:
    with workspace.locked():  # else it might be what a grid has put there for the moment
        recipe = workspace.recipe()
    if recipe is None:
        raise BadInput("recipe", "nothing, and no merge is live", "a recipe, a job with a winner, or a live merge")
    return recipe.to_dict()


def run(settings: BakeSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Write the file; like ``merge``, with prediction, uncond and the training behind it written down."""
    if settings.study:
        made = [_write(check(one, workspace), workspace, task) for one in bake_study.products(settings, workspace)]
        return made[0] if len(made) == 1 else {**made[0], "products": made}
    return _write(check(settings, workspace), workspace, task)


def _write(settings: BakeSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    uncond = readings.read_uncond(settings.uncond)
    header = {**train_after.header_of(settings, workspace), **bake_study.header(settings.evidence)}
    made = merge.write(settings, workspace, task, uncond=uncond, header=header)
    return {**made, "study": settings.evidence} if settings.evidence else made


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    lines = []
    for made in result.get("products") or [result]:
        lines.append(merge.show(made))
        study = made.get("study")
        if study:
            under = f", best under {study['under']}" if study.get("under") else ""
            lines.append(f"  {study['cell']} of {study['name']} ({study['hash']}, {study['cells']} cells{under})")
            lines.append("  draw with " + ", ".join(f"{name} {value}" for name, value in study["advice"].items()))
    return "\n".join(lines)
