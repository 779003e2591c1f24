"""``grid``: pictures and scores over ratio, CFG, uncond and more, without writing a checkpoint per cell."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Stopped
from lib_astolfo.search.settings import StudySettings

from . import seeds, study_presets, train_after
from .study_plan import check_unchanged, checked_live, natural_sampling, prepare, study_sizes
from .study_scores import all_scores

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task
    from lib_astolfo.search.plan import Plan
    from lib_astolfo.search.store import CellResult
    from lib_astolfo.search.study import StudyResult

    from .workspace import Workspace

__all__ = ["GridSettings", "all_scores", "check_unchanged", "checked_live", "natural_sampling", "prepare"]


@dataclass(frozen=True)
class GridSettings(StudySettings):
    """A study, and where it is kept. A grid run again in the same folder takes up the cells it finds there."""

    folder: str = ""  # a name in the outputs folder; empty: the job's own
    check: int = 0  # pictures with fresh seeds on which the winner is measured again; 0: none
    training: str = ""  # a training, or its job: its base, snapshots, prediction, captions where none are given
    preset: str = ""  # surface: ratio x CFG x uncond; anypred: ratio x prediction; epochs: ratio x snapshot of training
    preview: bool = False  # draw nothing: say what it will cost

    def __post_init__(self) -> None:
        if not 0 <= self.check <= 10_000:
            raise BadInput("check", self.check, "a number of pictures from 0 to 10000")


def check(settings: GridSettings, workspace: Workspace) -> GridSettings:
    """Refuse what cannot become a grid, before it is queued; with what a training says in full. Errors: BadInput."""
    settings = study_presets.filled(settings)
    if settings.training:
        settings = train_after.to_grid(settings, workspace)
    settings = seeds.fixed(settings, seeds.of_folder(named_folder(settings.folder, workspace)))
    prepare(settings, workspace)
    return settings


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    if "preview" in result:
        return str(result["preview"]["words"])
    marks = {"found": " * ", "caution": " ! ", "note": " - "}
    verdict = result["verdict"]
    lines = [marks[sentence["level"]] + sentence["text"] for sentence in verdict["sentences"]]
    return "\n".join([result["table"], "", verdict["headline"], *lines])


def run(settings: GridSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Draw, score and judge the grid. Files: cells, contact sheet, curves, report and the winner's recipe.

    Stopped early it returns what there is; stopped before the first cell Stopped goes through.
    """
    if settings.preview:
        return preview("grid", settings, workspace)
    return carry_out(settings, workspace, task)[1]


def preview(kind: str, settings: StudySettings, workspace: Workspace) -> dict[str, Any]:
    """What a grid or a search will cost."""
    from . import search_cost
    from .settings import to_dict

    return {"preview": search_cost.estimate(kind, to_dict(settings), workspace).to_dict()}


def carry_out(
    settings: GridSettings, workspace: Workspace, task: Task, *, facts: Mapping[str, str] | None = None, title: str = ""
) -> tuple[StudyResult, dict[str, Any]]:
    """Like ``run``; returns the study beside the result. ``facts`` and ``title`` go into the report."""
    from lib_astolfo.search.outcome import plan_as_dict

    settings = seeds.fixed(settings, seeds.of_folder(named_folder(settings.folder, workspace)))
    plan = prepare(settings, workspace)
    folder = study_folder(settings.folder, workspace, task)
    task.event(plan_words(plan, workspace), plan=plan_as_dict(plan))
    result = draw(plan, workspace, task, folder)
    return judged(result, workspace, task, settings.check, (title, facts))


def plan_words(plan: Plan, workspace: Workspace) -> str:
    """What the grid will cost, for people, before it starts."""
    from lib_astolfo.search.order import cost

    return cost(plan, study_sizes(plan, workspace)).describe()


def judged(
    result: StudyResult, workspace: Workspace, task: Task, pictures: int, words: tuple[str, Mapping[str, str] | None]
) -> tuple[StudyResult, dict[str, Any]]:
    """What was found in words and files, the winner measured again on so many ``pictures``. ``words``: title, facts."""
    from lib_astolfo.search import files as written
    from lib_astolfo.search import outcome
    from lib_astolfo.search.check import check as measure_again
    from lib_astolfo.search.report import Extra
    from lib_astolfo.search.verdict import verdict
    from lib_astolfo.search.votes import with_votes

    voted, before, (title, facts) = with_votes(result), [], words
    found = verdict(voted)
    if pictures and not result.stopped:
        shown = {"progress": task.progress, "report": task.report}
        try:
            again = measure_again(result, workspace.host, workspace.live, result.folder / "check", pictures, **shown)
            before = [again] if again else []
        except Stopped:
            result = replace(result, stopped=True)
    voted = replace(voted, stopped=result.stopped)
    files = written.write(voted, found, Extra(title or Extra.title, facts, before=before))
    for name in files.values():
        publish(result.folder / name, result.folder, task.folder)
    return result, outcome.as_dict(voted, found, files, *before)


def draw(plan: Plan, workspace: Workspace, task: Task, folder: Path) -> StudyResult:
    """Run the study with the task's progress; every finished cell is an event and a picture among the job's files.

    So are those that an earlier job has left in the folder.
    """
    from lib_astolfo.search.store import CellStore
    from lib_astolfo.search.study import run as run_study

    def on_cell(cell: CellResult) -> None:
        publish(folder / cell.picture, folder, task.folder)
        tell(cell, plan, task)

    def progress(done: int, total: int, text: str) -> None:
        task.progress(done, total, text)
        if workspace.training is not None:  # begun while this waited; the cells made until now are kept
            raise workspace.training.busy()
        check_unchanged(plan, workspace)

    for cell in CellStore(folder).read(plan).values():
        on_cell(cell)
    live = checked_live(plan, workspace)
    told: dict[str, Any] = {"progress": progress, "report": task.report, "asked": lambda: bool(task.asked)}
    return run_study(plan, workspace.host, live, folder, on_cell=on_cell, **told)


def tell(cell: CellResult, plan: Plan, task: Task) -> None:
    """A finished cell as an event: in words, its sheet, its scores in words, and itself as numbers."""
    from lib_astolfo.search.outcome import cell_as_dict

    scores = shown(cell)
    first = [f"{plan.primary.name} {scores[plan.primary.name]}"] if plan.primary else []
    text = ": ".join([cell.cell.label, *first])
    task.event(text, picture=cell.picture, scores=scores, cell=cell_as_dict(cell))


def shown(cell: CellResult) -> dict[str, str]:
    """The scores of a cell in words."""
    return {name: f"{value.mean:.3f} ± {value.error:.3f}" for name, value in cell.scores.items()}


def study_folder(name: str, workspace: Workspace, task: Task) -> Path:
    """The folder of the study: the job's own, or the one of this name in the outputs folder."""
    folder = named_folder(name, workspace)
    if folder is None:
        return task.folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
