"""``train``: the loaded model is trained in the background while pictures go on being drawn at any ratio of it.

The work is a job of a lane of its own. Pause writes a checkpoint and waits; stop writes a checkpoint and a snapshot of
what was learnt; cancel leaves nothing in the model, and on the disk the checkpoints, from which the run can be resumed
as after a crash. The model's own weights are never written to (form ``in_place`` excepted).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import settings as reading
from . import train_data, train_runs

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .train_settings import TrainSettings
    from .workspace import Workspace


def __getattr__(name: str) -> Any:
    """``TrainSettings``, when it is asked for: it imports PyTorch, which this module must not."""
    if name == "TrainSettings":
        from .train_settings import TrainSettings

        return TrainSettings
    raise AttributeError(name)


def check(settings: TrainSettings, workspace: Workspace) -> TrainSettings:
    """Refuse what cannot run, before it is queued; settings with all that does not depend on the moment.

    With ``resume`` they are those of the run's folder, changed by what was given. Errors: BadInput, Busy.
    """
    from lib_astolfo.training.run.review import review

    if settings.resume and (settings.changes or not settings.name):  # else they are complete already
        settings = resumed(settings, workspace)
    if not settings.data.sources:
        raise BadInput(
            "data.sources", "none", "at least one data set: [{path: folder}], or digits for the laboratory's"
        )
    settings = train_data.placed(_named(settings, workspace), workspace)
    _check_precision(settings)
    review(settings.run(), workspace.host.model if _is_loaded(settings, workspace) else None)
    return settings


def _check_precision(settings: TrainSettings) -> None:
    """Of weights in the dtype that the form says; those of ``in_place`` are known when the model is loaded."""
    from lib_astolfo.training.forms.settings import DTYPES
    from lib_astolfo.training.optim.settings import check as check_optimiser

    try:
        check_optimiser(settings.optimiser, {"precision": DTYPES[settings.form.dtype]})
    except BadInput as error:
        where = error.where if error.where.startswith("optimiser") else f"optimiser.{error.where}"
        raise BadInput(where, error.found, error.expected) from error


def _named(settings: TrainSettings, workspace: Workspace) -> TrainSettings:
    """With the checkpoint's name, and a name that no other run has."""
    loaded = workspace.host.model
    model = settings.model or (loaded.entry.name if loaded is not None else "")
    if not model:
        raise BadInput("model", "nothing, and none is loaded", "the name of a checkpoint")
    try:
        path = workspace.resolve(model)
    except BadInput as error:
        raise BadInput("model", error.found, error.expected) from error
    name = settings.name or train_runs.free_name(workspace, PurePath(path).stem)
    folder = train_runs.place(workspace, name)
    if (folder / train_runs.SETTINGS).exists() and not settings.resume and not settings.report:
        raise BadInput("name", f"{name!r}, which is there already", f"another name, or resume={name} to go on with it")
    return replace(settings, model=model, name=name)


def _is_loaded(settings: TrainSettings, workspace: Workspace) -> bool:
    model = workspace.host.model
    return model is not None and workspace.resolve(settings.model) == model.entry.path


def resumed(settings: TrainSettings, workspace: Workspace) -> TrainSettings:
    """The settings of the run that is to go on, with the changes. Errors: BadInput naming the key."""
    from .train_settings import TrainSettings, merged

    run = train_runs.find(workspace, settings.resume, "resume")
    active = workspace.training
    if active is not None and active.name == run.name:
        raise BadInput(
            "resume", f"{run.name}, which is running", "a run that was ended; a paused one is resumed as job"
        )
    if settings.changes.get("name", run.name) != run.name:
        raise BadInput("name", repr(settings.changes["name"]), f"{run.name}: a run keeps its name")
    values = merged(run.settings, settings.changes)
    found = TrainSettings.from_plain({**values, "name": run.name})
    return replace(found, resume=run.name, report=settings.report)


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    return str(result["summary"])


def run(settings: TrainSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Train to the end, or until it is stopped. The result names the run and its snapshots.

    Errors: BadInput, Failed; Stopped when it was ended before there was anything.
    """
    from . import train_many, train_report, train_work

    if train_many.rank():
        task = train_many.Quiet(task)
    settings = check(settings, workspace)
    if settings.report:
        return train_report.report(settings, workspace, task)
    return train_work.work(settings, workspace, task)


def to_yaml(settings: TrainSettings) -> str:
    """As a file for the command line."""
    from omegaconf import OmegaConf

    return str(OmegaConf.to_yaml(OmegaConf.create(reading.to_dict(settings))))
