"""``search``: which ratio, uncond or block ratios are best, found with few pictures, by one machine or many."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Stopped
from lib_astolfo.search.settings import SearchSettings as StudySearch

from . import grid, seeds, train_after
from .study_scores import check_own, score_marks

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task
    from lib_astolfo.search.ledger import Ledger
    from lib_astolfo.search.plan import Plan
    from lib_astolfo.search.store import CellResult
    from lib_astolfo.search.strategies.base import Strategy

    from .workspace import Workspace

SHEETS = ("rows", "columns", "legend", "margin", "sub_grids", "sub_images")
LOCAL = ("folder", "study", "worker", "check", "preview", *SHEETS)  # what each worker has for itself
DATABASE = "study.db"
MAX_CHECK = 10_000
TITLE = "The search"
SAMPLERS = ("additive", "tpe", "gp", "cmaes")


@dataclass(frozen=True)
class SearchSettings(StudySearch):
    """A search, and where it is kept. Run again in the same folder, or with the same study URL, it goes on."""

    axes: dict[str, Any] = field(default_factory=dict)  # of `refine` besides the ratio; of samplers what is searched
    folder: str = ""  # a name in the outputs folder; empty: the job's own
    worker: bool = False  # join the study that others began, draw its cells, leave the report to them
    check: int = 0  # pictures with fresh seeds on which the winner is measured again; 0: none
    training: str = ""  # a training, or its job: its base, snapshots, prediction, captions where none are given
    preview: bool = False  # draw nothing: say what it will cost

    def __post_init__(self) -> None:
        if not 0 <= self.check <= MAX_CHECK:
            raise BadInput("check", self.check, f"a number of pictures from 0 to {MAX_CHECK}")
        if self.worker and not self.study:
            raise BadInput("study", "nothing", "the URL of the study that the worker joins")


def check(settings: SearchSettings, workspace: Workspace) -> SearchSettings:
    """Refuse what cannot become a search, before it is queued; with what a training says in full. Errors: BadInput."""
    if settings.training and not settings.worker:
        settings = train_after.to_search(settings, workspace)
    folder = grid.named_folder(settings.folder, workspace)
    check_url(settings.study, workspace)
    if not settings.worker:
        prepare(seeds.fixed(settings, seeds.of_folder(folder)), workspace)
    return settings


def check_url(url: str, workspace: Workspace) -> None:
    """Over REST and in the tab a database may not be a file outside the outputs folder. Errors: BadInput."""
    from lib_astolfo.hosts.standalone.paths import is_inside

    if not url or workspace.free_paths or not url.lower().startswith("sqlite"):
        return
    path = Path(url.partition(":///")[2])
    if not is_inside(path, [workspace.host.folders.outputs]):
        raise BadInput("study", repr(url), "postgresql://…, mysql://…, or a SQLite file in the outputs folder")


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    if "preview" in result:
        return str(result["preview"]["words"])
    if "verdict" not in result:
        return f"{result['drawn']} cells drawn for the study {result['name']}; its report is written where it was begun"
    return f"{grid.show(result)}\n\n{result['plan']}"


def run(settings: SearchSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Search, and unless this is a worker, judge and report. Files: as of ``grid``, and the study's database.

    Stopped early it returns what there is; stopped before the first cell Stopped goes through.
    """
    from lib_astolfo.search.ledger import Ledger, default_url

    if settings.preview:
        return grid.preview("search", settings, workspace)
    settings = check(settings, workspace) if settings.training else settings
    folder = grid.study_folder(settings.folder, workspace, task)
    ledger = Ledger(settings.study or default_url(folder / DATABASE), settings.name)
    try:
        settings = joined(settings, ledger, workspace)
        plan, strategy = prepare(settings, workspace)
        return _carry_out(settings, (plan, strategy, ledger), workspace, task, folder)
    finally:
        ledger.close()


def joined(settings: SearchSettings, ledger: Ledger, workspace: Workspace) -> SearchSettings:
    """The settings of the study: a worker's are those it was begun with; others must be the same. Errors: BadInput."""
    from . import settings as reading

    known = ledger.settings()
    if known is None and settings.worker:
        raise BadInput("study", f"no study {settings.name!r}", "the name of one that was begun")
    if not settings.worker:
        settings = seeds.fixed(settings, None if known is None else known["settings"])
    if known is None:
        plan = prepare(settings, workspace)[0]
        shared = {name: value for name, value in asdict(settings).items() if name not in LOCAL}
        known = ledger.begin({"settings": shared, "files": dict(plan.identity), "scores": score_marks(plan)})
    mine = {name: getattr(settings, name) for name in LOCAL}
    begun = reading.from_dict(SearchSettings, {**known["settings"], **mine})
    check_own(begun.scores, settings.scores)
    if not settings.worker:
        _same(begun, settings)
    _same_files(known["files"], workspace)
    if known.get("scores"):
        _same_scores(known["scores"], prepare(begun, workspace)[0])
    return begun


def _same(begun: SearchSettings, given: SearchSettings) -> None:
    for name, value in asdict(given).items():
        if asdict(begun)[name] != value:
            expected = f"{asdict(begun)[name]!r}, with which this study was begun, or another name or folder"
            raise BadInput(name, repr(value), expected)


def _same_scores(marks: Mapping[str, str], plan: Plan) -> None:
    """Nor could figures of other scoring models."""
    for name, found in score_marks(plan).items():
        if found != marks.get(name):
            expected = "the files and options of this score that the study was begun with"
            raise BadInput(f"scores.{name}", "other files behind it", expected)


def _same_files(files: Mapping[str, str], workspace: Workspace) -> None:
    """The cells of other files could not be compared."""
    from lib_astolfo.search.marks import mark

    for name, expected in files.items():
        found = mark(workspace.resolve(name))
        if found != expected:
            raise BadInput(name, f"another file ({found})", f"the one that the study was begun with ({expected})")


def prepare(settings: SearchSettings, workspace: Workspace) -> tuple[Plan, Strategy]:
    """The plan and the strategy of a search. Errors: BadInput."""
    from .search_strategies import make

    return make(settings, workspace)


def _carry_out(
    settings: SearchSettings, parts: tuple[Plan, Strategy, Ledger], workspace: Workspace, task: Task, folder: Path
) -> dict[str, Any]:
    from lib_astolfo.search.gathered import best_of, gathered
    from lib_astolfo.search.outcome import plan_as_dict
    from lib_astolfo.search.searching import Search, fetch

    plan, strategy, ledger = parts
    start, stopped = time.monotonic(), False
    words = plan_words(plan, strategy)
    task.event(words, plan=plan_as_dict(plan))

    def on_cell(cell: CellResult) -> None:
        grid.publish(folder / cell.picture, folder, task.folder)
        grid.tell(cell, plan, task)

    def progress(done: int, total: int, text: str) -> None:
        task.progress(done, total, text)
        grid.check_unchanged(plan, workspace)

    search = Search(plan, strategy, ledger, workspace.host, grid.checked_live(plan, workspace), folder)
    search.look, search.progress, search.report, search.on_cell = look(settings), progress, task.report, on_cell
    search.asked = lambda: bool(task.asked)
    try:
        search.run()
    except Stopped:
        stopped = True
        if not any(entry.state == "done" for entry in ledger.entries()):
            raise
    if settings.worker:
        return {"drawn": search.drawn, "name": settings.name, "stopped": stopped}
    whole = gathered(plan, fetch(plan, ledger, folder), folder, stopped=stopped, seconds=time.monotonic() - start)
    for cell in whole.cells:
        grid.publish(folder / cell.picture, folder, task.folder)
    facts = {"strategy": settings.strategy, "study": settings.name, "tried": f"{len(whole.cells)} cells"}
    result = grid.judged(best_of(whole), workspace, task, settings.check, (TITLE, facts))[1]
    return {**result, "plan": words, "drawn": search.drawn, "name": settings.name, "tried": len(whole.cells)}


def look(settings: SearchSettings) -> int:
    """After how many pictures a cell may be found hopeless: a quarter, four at least; curves need whole cells."""
    if settings.look >= 0 or settings.strategy not in SAMPLERS:
        return max(settings.look, 0)
    return max(settings.pictures // 4, 4) if settings.pictures >= 8 else 0


def plan_words(plan: Plan, strategy: Strategy) -> str:
    """What the search will cost at most, for people, before it starts."""
    pictures = strategy.most * plan.settings.pictures
    steps = pictures * plan.settings.steps
    text = f"at most {strategy.most} cells, {pictures} pictures, {2 * steps} network calls"
    return text + "; weights written at most once a cell, no checkpoint file is written"
