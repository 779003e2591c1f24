"""``grid``: pictures and scores over ratio, CFG, uncond and more, without writing a checkpoint per cell."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Failed, Stopped
from lib_astolfo.search.settings import StudySettings

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task
    from lib_astolfo.search.plan import Plan
    from lib_astolfo.search.scores import Score
    from lib_astolfo.search.store import CellResult
    from lib_astolfo.search.study import StudyResult

    from .workspace import Workspace

FILES = ("model_a", "model_b", "model_c", "snapshot", "lora")  # axes whose values are files
ASKING = ("near", "accuracy", "frechet")  # scores that must know what was asked for


@dataclass(frozen=True)
class GridSettings(StudySettings):
    """A study, and where it is kept. A grid run again in the same folder takes up the cells it finds there."""

    folder: str = ""  # a name in the outputs folder; empty: the job's own
    check: int = 0  # pictures with fresh seeds on which the winner is measured again; 0: none

    def __post_init__(self) -> None:
        if not 0 <= self.check <= 10_000:
            raise BadInput("check", self.check, "a number of pictures from 0 to 10000")


def check(settings: GridSettings, workspace: Workspace) -> None:
    """Refuse what cannot become a grid, before it is queued. Errors: BadInput."""
    named_folder(settings.folder, workspace)
    prepare(settings, workspace)


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    marks = {"found": " * ", "caution": " ! ", "note": " - "}
    verdict = result["verdict"]
    lines = [marks[sentence["level"]] + sentence["text"] for sentence in verdict["sentences"]]
    return "\n".join([result["table"], "", verdict["headline"], *lines])


def run(settings: GridSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Draw, score and judge the grid. Files: cells, contact sheet, curves, report and the winner's recipe.

    Stopped early it returns what there is; stopped before the first cell Stopped goes through.
    """
    return carry_out(settings, workspace, task)[1]


def carry_out(
    settings: GridSettings, workspace: Workspace, task: Task, *, facts: Mapping[str, str] | None = None, title: str = ""
) -> tuple[StudyResult, dict[str, Any]]:
    """Like ``run``; returns the study beside the result. ``facts`` and ``title`` go into the report."""
    from lib_astolfo.search import outcome
    from lib_astolfo.search.check import check as measure_again
    from lib_astolfo.search.report import Extra
    from lib_astolfo.search.verdict import verdict

    plan = prepare(settings, workspace)
    folder = study_folder(settings.folder, workspace, task)
    result = draw(plan, workspace, task, folder)
    words, before = verdict(result), []
    if settings.check and not result.stopped:
        try:
            found = measure_again(
                result,
                workspace.host,
                workspace.live,
                folder / "check",
                settings.check,
                progress=task.progress,
                report=task.report,
            )
            before = [found] if found else []
        except Stopped:
            result = replace(result, stopped=True)
    extra = Extra(title or Extra.title, facts, before=before)
    files = outcome.write(result, words, extra)
    for name in files.values():
        publish(folder / name, folder, task.folder)
    return result, outcome.as_dict(result, words, files, *before)


def draw(plan: Plan, workspace: Workspace, task: Task, folder: Path) -> StudyResult:
    """Run the study with the task's progress; every finished cell is an event and a picture among the job's files."""
    from lib_astolfo.search.study import run as run_study

    def on_cell(cell: CellResult) -> None:
        publish(folder / cell.picture, folder, task.folder)
        scores = shown(cell)
        first = [f"{plan.primary.name} {scores[plan.primary.name]}"] if plan.primary else []
        task.event(": ".join([cell.cell.label, *first]), picture=cell.picture, scores=scores)

    def progress(done: int, total: int, text: str) -> None:
        task.progress(done, total, text)
        check_unchanged(plan, workspace)

    return run_study(
        plan, workspace.host, workspace.live, folder, progress=progress, report=task.report, on_cell=on_cell
    )


def check_unchanged(plan: Plan, workspace: Workspace) -> None:
    """Failed if a model's file is another than when the study began: its cells could not be compared."""
    from lib_astolfo.search.marks import mark

    for name in files_of(plan):
        try:
            now = mark(workspace.resolve(name))
        except (BadInput, OSError):
            now = "gone"
        if now != plan.identity.get(name, now):
            raise Failed(f"{name} was replaced or removed while the grid ran; the cells made before are kept")


def files_of(plan: Plan) -> list[str]:
    """The model and LoRA files that a study reads, each once."""
    settings = plan.settings
    fixed = [*settings.models.values(), settings.snapshot, settings.lora]
    varied = [name for axis in FILES for name in plan.axes.get(axis, ())]
    return [name for name in dict.fromkeys([*fixed, *varied]) if name]


def shown(cell: CellResult) -> dict[str, str]:
    """The scores of a cell in words."""
    return {name: f"{value.mean:.3f} ± {value.error:.3f}" for name, value in cell.scores.items()}


def prepare(settings: StudySettings, workspace: Workspace) -> Plan:
    """Check everything that can be checked before the first picture. Errors: BadInput."""
    from lib_astolfo.search.marks import mark
    from lib_astolfo.search.plan import make_plan
    from lib_astolfo.search.reading import read_axes

    settings = replace(settings, models={slot: name for slot, name in settings.models.items() if name})
    axes = read_axes(settings)
    paths = {name: _path(where, name, workspace) for where, name in _named(settings, axes)}
    bases = axes.get("model_a", (settings.models.get("a"),))
    known = scores(workspace, bases)
    if not settings.scores and "near" in known:  # the general ones can be named, but say less here
        from lib_astolfo.demo.scores import DIGIT_SCORES

        known = DIGIT_SCORES
    naturals = natural_samplings(settings, axes, workspace) if paths else {}
    sampling = next(iter(naturals.values()), None)
    identity = {name: mark(path) for name, path in paths.items()}
    plan = make_plan(settings, known, sampling=sampling, identity=identity, naturals=naturals)
    _check_sampler(plan)
    _check_prompts(plan)
    return plan


def _named(settings: StudySettings, axes: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, str]]:
    """Every file that the settings name, with the key that does."""
    yield from ((f"models.{slot}", name) for slot, name in settings.models.items())
    yield from ((axis, name) for axis, name in (("snapshot", settings.snapshot), ("lora", settings.lora)) if name)
    yield from ((f"axes.{axis}", name) for axis in FILES for name in axes.get(axis, ()))


def _path(where: str, name: str, workspace: Workspace) -> Path:
    try:
        return workspace.resolve(name)
    except BadInput as error:
        raise BadInput(where, error.found, error.expected) from error


def natural_samplings(settings: StudySettings, axes: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    """How merges of the models are read by the rules of merging, by ``plan.models_key``."""
    from lib_astolfo.search.plan import models_key

    slots = [slot for slot in ("a", "b", "c") if f"model_{slot}" in axes]
    found = {}
    for names in itertools.product(*(axes[f"model_{slot}"] for slot in slots)):
        models = {**settings.models, **dict(zip(slots, names, strict=True))}
        if models:
            found[models_key(models)] = natural_sampling(replace(settings, models=models), workspace)
    return found


def natural_sampling(settings: StudySettings, workspace: Workspace) -> Any:
    """How a merge of these models is read by the rules of merging."""
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.merging.engine import open_files
    from lib_astolfo.merging.policy import choose_sampling
    from lib_astolfo.merging.recipe import Recipe

    if len(settings.models) < 2:
        with CheckpointFile.open(workspace.resolve(next(iter(settings.models.values())))) as file:
            return workspace.said(file).sampling
    recipe = Recipe(settings.method, dict(settings.models), ratio=1.0, options=dict(settings.options))
    with open_files(recipe, workspace.resolve) as files:
        return choose_sampling(recipe, files, workspace.said).sampling


def scores(workspace: Workspace, bases: Sequence[str | None]) -> dict[str, Score]:
    """The scores that may be named for these models, and in which order: the digits laboratory's first for its own."""
    from lib_astolfo.search.scores import SCORES

    if all(name and _is_digits(workspace.resolve(name)) for name in bases):
        return all_scores()
    return dict(SCORES)


def all_scores() -> dict[str, Score]:
    """Every score there is, by name; the digits laboratory's win where names are equal."""
    from lib_astolfo.demo.scores import DIGIT_SCORES
    from lib_astolfo.search.scores import SCORES

    return {**DIGIT_SCORES, **{name: score for name, score in SCORES.items() if name not in DIGIT_SCORES}}


def _is_digits(path: Path) -> bool:
    from lib_astolfo.checkpoints.metadata import ARCHITECTURE
    from lib_astolfo.checkpoints.reader import CheckpointFile

    with CheckpointFile.open(path) as file:
        return file.metadata.get(ARCHITECTURE) == "digits"


def _check_sampler(plan: Plan) -> None:
    from lib_astolfo.diffusion.samplers import SAMPLERS

    known = {name.lower() for name in SAMPLERS}
    for name in plan.axes.get("sampler", (plan.settings.sampler,)):
        if name.lower() not in known:
            raise BadInput("sampler", repr(name), f"one of {', '.join(SAMPLERS)}")


def study_folder(name: str, workspace: Workspace, task: Task) -> Path:
    """The folder of the study: the job's own, or the one of this name in the outputs folder."""
    folder = named_folder(name, workspace)
    if folder is None:
        return task.folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _check_prompts(plan: Plan) -> None:
    """The digits laboratory's scores must know what each prompt asks for."""
    from lib_astolfo.demo.digits import parse
    from lib_astolfo.demo.scores import DIGIT_SCORES

    if not any(score.function is DIGIT_SCORES[name].function for name, score in plan.scores.items() if name in ASKING):
        return
    for index, prompt in enumerate(plan.axes.get("prompt", plan.settings.prompts)):
        try:
            parse(prompt)
        except BadInput as error:
            expected = f"{error.expected}; for other prompts name other scores"
            raise BadInput(f"prompts[{index}]", error.found, expected) from error


def named_folder(name: str, workspace: Workspace) -> Path | None:
    """The folder of this name in the outputs folder, None without a name. Errors: BadInput for one that leads out."""
    from lib_astolfo.hosts.standalone.paths import check_name, is_inside

    if not name:
        return None
    outputs = workspace.host.folders.outputs
    try:
        folder = outputs.joinpath(*check_name(name))
    except BadInput as error:
        raise BadInput("folder", error.found, "a name inside the outputs folder") from error
    taken = [
        path for path in (workspace.host.folders.jobs, *workspace.host.folders.models) if is_inside(folder, [path])
    ]
    if not is_inside(folder, [outputs]) or taken:
        raise BadInput("folder", repr(name), "a name inside the outputs folder that is not that of the jobs or models")
    return folder


def publish(path: Path, folder: Path, job_folder: Path) -> None:
    """Show a file of the study among the job's files, where the study is kept elsewhere."""
    if folder == job_folder:
        return
    target = job_folder / path.relative_to(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
