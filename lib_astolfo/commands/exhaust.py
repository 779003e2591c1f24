"""``exhaust``: several models under every prediction and every uncond, in one table with pictures and verdicts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Stopped

from . import grid, probe, seeds

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .exhaust_models import Subject
    from .workspace import Workspace

MODELS = "models"  # the folder of the models' studies
MAX_CELLS = 2000


@dataclass(frozen=True)
class ExhaustSettings:
    """What is combined with what. A table that is run again in the same folder goes on where it was, cell by cell."""

    models: list[Any] = field(default_factory=list)  # checkpoints, snapshots, recipe files, or recipes as mappings
    unconds: list[Any] = field(default_factory=lambda: ["zero", "null", "comma"])
    predictions: list[Any] = field(default_factory=lambda: ["auto", "eps", "v", "v ztsnr"])  # auto: as the model says
    prompts: list[str] = field(default_factory=list)  # taken in turn
    negative: str = ""  # the negative prompt, used where the uncond is `host`
    pictures: int = 4  # a cell
    seed: int = 1  # of the first picture of every cell; -1: any
    steps: int = 20
    sampler: str = "Euler"  # by the WebUI's name
    schedule: str = ""  # empty: the sampler's own
    cfg: float = 4.0
    cfg_rescale: float = 0.0
    width: int = 0  # pixels; 0: the model's native size
    height: int = 0
    scores: list[str] = field(default_factory=list)  # empty: all that fit; the detectors of failures always
    primary: str = ""  # the score that compares the cells of a model; empty: the first that has a better side
    batch: int = 16
    thumbnail: int = 512  # longest side of a picture in the sheets, in pixels
    sub_images: bool = False  # every picture as a file of its own too
    probe: bool = True  # measure what each model predicts and which uncond it knows
    probe_pictures: str = ""  # a folder of pictures with captions for it; empty: the held-out digits, for digits
    probe_count: int = 32  # pictures of it
    folder: str = ""  # a name in the outputs folder; empty: the job's own


def check(settings: ExhaustSettings, workspace: Workspace) -> ExhaustSettings:
    """Refuse what cannot become a table, before it is queued; models and seeds in full. Errors: BadInput."""
    from .exhaust_models import subjects

    folder = grid.named_folder(settings.folder, workspace)
    if settings.seed == seeds.ANY:
        begun = seeds.of_folder(None if folder is None else folder / MODELS / "01")
        settings = replace(settings, seed=int(begun.get("seed", seeds.any_seed())))
    found = subjects(settings, workspace)
    if sum(len(one.rows) for one in found) > MAX_CELLS:
        raise BadInput("models", f"{sum(len(one.rows) for one in found)} combinations", f"at most {MAX_CELLS}")
    if settings.probe_pictures:
        probe.check(probe_settings(settings, found), workspace)
    return replace(settings, models=[one.given for one in found])


def probe_settings(settings: ExhaustSettings, found: list[Subject]) -> probe.ProbeSettings:
    """How the models are probed. Errors: BadInput."""
    return probe.ProbeSettings(
        models=[one.base for one in found],
        pictures=settings.probe_pictures,
        count=settings.probe_count,
        width=settings.width,
        height=settings.height,
    )


def run(settings: ExhaustSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Draw, probe and judge. Files: the page, the sheet of everything, CSV, JSON, each model's study in ``models``.

    Stopped early it returns what there is; stopped before the first cell Stopped goes through.
    """
    from lib_astolfo.search import exhaustion
    from lib_astolfo.search.exhaustion_report import write

    from .exhaust_models import subjects
    from .exhaust_work import Work

    start = time.monotonic()
    settings = check(settings, workspace)
    found, folder = subjects(settings, workspace), grid.study_folder(settings.folder, workspace, task)
    task.event(plan_words(found, settings))
    work = Work(settings, workspace, task, folder, found)
    models, stopped = [], False
    with probe.as_before(workspace) as loaded:
        for index in range(len(found)):
            try:
                models.append(work.model(index, loaded, stopped=stopped))
            except Stopped:
                if not any(row.cell for model in models for row in model.rows) and not work.drawn(index):
                    raise
                stopped = True
                models.append(work.model(index, loaded, stopped=True))
    table = work.table(models, stopped, time.monotonic() - start)
    files = write(table)
    for name in files.values():
        grid.publish(folder / name, folder, task.folder)
    return {**exhaustion.as_dict(table), "files": files, "folder": str(folder)}


def plan_words(found: list[Subject], settings: ExhaustSettings) -> str:
    """What the table will cost, for people, before it starts."""
    cells = sum(len(one.cells) for one in found)
    rows = sum(len(one.rows) for one in found)
    guided = 1 if settings.cfg == 1.0 else 2
    calls = cells * settings.pictures * settings.steps * guided
    text = f"{len(found)} models, {cells} of {rows} combinations are drawn: {cells * settings.pictures} pictures, "
    return text + f"{calls} network calls; no checkpoint file is written"


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    from lib_astolfo.search.exhaustion_report import terminal

    return terminal(result)
