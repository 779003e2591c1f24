"""The models of an exhaustion table, each as a study of predictions x unconds, and the combinations that are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.search.exhaustion import SAME, SENSELESS, WAITING, Row
from lib_astolfo.search.plan import Cell, Plan, describe

from . import live, sources, train_after, train_runs
from .study_plan import natural_sampling, prepare

if TYPE_CHECKING:
    from lib_astolfo.search.settings import StudySettings

    from .exhaust import ExhaustSettings
    from .workspace import Workspace

AUTO = "auto"
SHARED = (
    *("prompts", "negative", "pictures", "seed", "steps", "sampler", "schedule", "cfg", "cfg_rescale", "width"),
    *("height", "scores", "primary", "batch", "thumbnail", "sub_images"),
)


@dataclass(frozen=True)
class Merged(Plan):
    """A plan whose weights are one recipe's, whatever its axes."""

    given: Recipe | None = None

    def recipe(self, cell: Cell) -> Recipe | None:
        """The recipe, with the cell's reading where that is not the recipe's own."""
        if self.given is None or self.sampling_of(cell) == self.natural:
            return self.given
        return replace(self.given, options={**self.given.options, "prediction": self.sampling_of(cell).to_dict()})

    def weights_key(self, cell: Cell) -> str:
        """One and the same: how it is read is no weight."""
        return ""


@dataclass(frozen=True)
class Subject:
    """A model of the table: ``base`` is the checkpoint that is loaded, ``recipe`` what is merged into it, ``given``
    what names it in settings. ``rows``: its combinations, ``cells`` those of them that are drawn, by place."""

    name: str
    given: Any
    base: str
    recipe: Recipe | None
    said: Sampling
    plan: Plan | None
    rows: tuple[Row, ...]
    cells: Mapping[int, Cell]


def subjects(settings: ExhaustSettings, workspace: Workspace) -> list[Subject]:
    """Every model with its combinations. Errors: BadInput naming the model."""
    if not settings.models:
        raise BadInput("models", "none", "checkpoints, snapshots of a training, or recipes")
    for name in ("unconds", "predictions"):
        if not getattr(settings, name):
            raise BadInput(name, "none", "at least one")
    found: list[Subject] = []
    for index, given in enumerate(settings.models):
        try:
            found.append(_subject(given, settings, workspace))
        except BadInput as error:
            where = error.where if error.where in SHARED else f"models[{index}]: {error.where}"
            raise BadInput(where, error.found, error.expected) from error
    return found


def _subject(given: Any, settings: ExhaustSettings, workspace: Workspace) -> Subject:
    name, base, recipe = _read(given, workspace)
    said = _said(base, recipe, workspace)
    pairs = list(_pairs(settings, said))
    wanted = [(prediction, uncond) for _, prediction, uncond in pairs if prediction is not None and uncond is not None]
    rows = [replace(row, model=name) for row, _, _ in pairs]
    shown = recipe.to_dict() if recipe is not None and not _is_snapshot(given) else given
    if not wanted:
        return Subject(name, shown, base, recipe, said, None, tuple(rows), {})
    plan = _plan(settings, base, recipe, wanted, workspace)
    by_values = {(cell.values["prediction"], cell.values["uncond"]): cell for cell in plan.cells}
    cells: dict[int, Cell] = {}
    for index, (_, prediction, uncond) in enumerate(pairs):
        if prediction is None or uncond is None:
            continue
        cell = by_values[(prediction, uncond)]
        try:
            plan.check(cell)
            cells[index] = cell
        except BadInput as error:
            rows[index] = replace(rows[index], status=SENSELESS, reason=_because(error))
    drawn = replace(plan, cells=tuple(cells.values()))
    return Subject(name, shown, base, recipe, said, drawn, tuple(rows), cells)


def _read(given: Any, workspace: Workspace) -> tuple[str, str, Recipe | None]:
    """Name, checkpoint to load, recipe to merge into it."""
    if isinstance(given, Mapping):
        recipe = live.recipe_of(given)
    elif not isinstance(given, str) or not given.strip():
        raise BadInput("model", repr(given), "a checkpoint's name, a snapshot's, a recipe's file, or a recipe")
    elif _is_snapshot(given):
        run = train_runs.find(workspace, given.replace("\\", "/").split("/")[0], "snapshot")
        recipe = live.recipe_of(train_after.recipe_of(train_after.settings_of(run), given, 1.0))
        return PurePath(given).stem, recipe.files()[0], recipe
    elif given.lower().endswith((".yaml", ".yml", ".mecha")):
        recipe = replace(sources.read(given, workspace).recipe, output=PurePath(given).stem)
    else:
        workspace.resolve(given)
        return given.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".safetensors"), given, None
    live.resolve_all(recipe, workspace)
    return recipe.output or describe(recipe), recipe.files()[0], recipe


def _is_snapshot(given: Any) -> bool:
    return isinstance(given, str) and train_after.is_snapshot(given)


def _said(base: str, recipe: Recipe | None, workspace: Workspace) -> Sampling:
    from lib_astolfo.merging.engine import open_files
    from lib_astolfo.merging.policy import choose_sampling
    from lib_astolfo.search.settings import StudySettings

    if recipe is None:
        found = natural_sampling(StudySettings(models={"a": base}), workspace)
        return found if isinstance(found, Sampling) else Sampling()
    with open_files(recipe, workspace.resolve) as files:
        return choose_sampling(recipe, files, workspace.said).sampling


def _pairs(settings: ExhaustSettings, said: Sampling) -> Iterator[tuple[Row, Any, Any]]:
    """A row for every combination, with the values that are drawn, or None where it is not drawn."""
    from lib_astolfo.search.axes import parse_sampling, parse_uncond, show

    predictions = [_value(parse_sampling, "predictions", said if _auto(one) else one) for one in settings.predictions]
    unconds = [_value(parse_uncond, "unconds", one) for one in settings.unconds]
    for index, (prediction, problem) in enumerate(predictions):
        word = _word(settings.predictions[index], prediction, show)
        twin = next((i for i, (other, _) in enumerate(predictions[:index]) if other == prediction), None)
        for number, (uncond, no_uncond) in enumerate(unconds):
            row = Row("", word, str(settings.unconds[number]) if uncond is None else show(uncond), WAITING)
            again = next((i for i, (other, _) in enumerate(unconds[:number]) if other == uncond), None)
            if prediction is None or uncond is None:
                yield replace(row, status=SENSELESS, reason=problem or no_uncond), None, None
            elif twin is not None:
                other = _word(settings.predictions[twin], prediction, show)
                yield replace(row, status=SAME, reason=f"the same as {other}"), None, None
            elif again is not None:
                yield replace(row, status=SAME, reason="named twice"), None, None
            elif settings.cfg == 1.0 and number:
                first = show(unconds[0][0]) if unconds[0][0] is not None else "the first"
                reason = f"at CFG 1 no uncond is used: the same as {first}"
                yield replace(row, status=SAME, reason=reason), None, None
            else:
                yield row, prediction, uncond


def _auto(given: Any) -> bool:
    return given is None or str(given).strip().lower() in ("", AUTO)


def _word(given: Any, value: Any, show: Any) -> str:
    if value is None:
        return str(given)
    return f"{show(value)} (as it says)" if _auto(given) else str(show(value))


def _value(parse: Any, where: str, given: Any) -> tuple[Any, str]:
    """The value, or None and why there is none; what is no word at all is bad input."""
    try:
        return parse(where, given), ""
    except BadInput as error:
        if error.where == where:
            raise
        return None, _because(error)


def _because(error: BadInput) -> str:
    return f"{error.where} {error.found}: {error.expected}"


def _plan(
    settings: ExhaustSettings, base: str, recipe: Recipe | None, wanted: list[tuple[Any, Any]], workspace: Workspace
) -> Plan:
    from lib_astolfo.scoring.detectors import DETECTORS

    shared = {name: getattr(settings, name) for name in SHARED}
    axes = {
        "prediction": list(dict.fromkeys(one for one, _ in wanted)),
        "uncond": list(dict.fromkeys(one for _, one in wanted)),
    }
    plan = prepare(_settings(base, axes, shared), workspace)
    scores = {**plan.scores, **{name: score for name, score in DETECTORS.items() if name not in plan.scores}}
    plan = replace(plan, scores=scores)
    if recipe is None:
        return plan
    files = {name: _mark(name, workspace) for name in (*recipe.files(), *recipe.lora_files())}
    identity = {**plan.identity, **files, "recipe": recipe.to_yaml()}
    kept = {one.name: getattr(plan, one.name) for one in fields(Plan)}
    return Merged(**{**kept, "identity": identity, "natural": _said(base, recipe, workspace), "given": recipe})


def _settings(base: str, axes: dict[str, Any], shared: dict[str, Any]) -> StudySettings:
    from lib_astolfo.search.axes import plain
    from lib_astolfo.search.settings import StudySettings

    given = {name: [plain(value) for value in values] for name, values in axes.items()}
    return StudySettings(models={"a": base}, axes=given, rows="prediction", columns="uncond", **shared)


def _mark(name: str, workspace: Workspace) -> str:
    from lib_astolfo.search.marks import mark

    return mark(workspace.resolve(name))
