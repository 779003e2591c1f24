"""A training at work: the model taken, the run carried out, the model given back, what came of it told."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import Failed

from . import train_data, train_many, train_runs
from .registry import COMMANDS
from .train_active import ActiveTraining
from .train_control import TaskControl

if TYPE_CHECKING:
    from pathlib import Path

    from lib_astolfo.jobs import Task
    from lib_astolfo.training.run.outcome import Outcome

    from .train_settings import TrainSettings
    from .workspace import Workspace

POLL = 0.3  # seconds between two looks at whether a job that draws is over
ENDED = {"stopped": "stopped and kept", "discarded": "discarded", "shutdown": "ended with Astolfo", "done": "done"}


class ActiveControl(TaskControl):
    """The task's hand; what people look at sees too how far the run is."""

    def __init__(self, task: Task, active: ActiveTraining) -> None:
        super().__init__(task)
        self._active = active

    def turn(self, done: int, total: int, text: str = "") -> None:
        """Errors: Stopped."""
        self._active.progress = (done, total, text)
        super().turn(done, total, text)

    def report(self, done: int, total: int, text: str = "") -> None:
        """Errors: Stopped."""
        self._active.progress = (done, total, text)
        super().report(done, total, text)


def work(settings: TrainSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Carry out a checked training. Errors: BadInput, Busy; Failed, also where a guard has ended it; Stopped."""
    from lib_astolfo.training.run.accelerated import gather
    from lib_astolfo.training.run.run import Run

    folder = train_runs.place(workspace, settings.name)
    active = ActiveTraining(task.job_id, settings.name, folder, settings)
    joined = gather()
    _together(joined)
    _wait_for_others(workspace, task)
    began = time.monotonic()
    with workspace.trained(active, lambda: task.progress(0, 0, "waiting for the model, which is in use")):
        run = Run(
            settings.run(),
            workspace.host,
            folder,
            ActiveControl(task, active),
            gather=joined,
            shown=active.attach,
            within=train_data.within(settings, workspace),
        )
        outcome = run.go()
    if not train_many.rank() and outcome.ended != "discarded":
        _draw(folder, settings)
    made = result(settings, folder, outcome, time.monotonic() - began)
    if outcome.ended == "guard" and not train_many.rank():
        raise Failed(f"{outcome.why} {made['summary']}")
    return made


def _draw(folder: Path, settings: TrainSettings) -> None:
    """The curves of the run's history as a picture; without matplotlib there is none."""
    from lib_astolfo.training.watch import figures

    with suppress(ImportError, OSError):
        figures.write(folder, settings.run().watch.window)


def _together(joined: Any) -> None:
    """Several processes have looked at what is there before one of them writes."""
    if joined.processes > 1:
        import torch

        joined.sum(torch.zeros(1))


def _wait_for_others(workspace: Workspace, task: Task) -> None:
    """Until no job draws with merges in the model; one that is paused does not count. Errors: Stopped."""
    while workspace.jobs.owner:
        drawing = [job for job in workspace.jobs.list(20) if job.state in ("running", "stopping") and _draws(job.kind)]
        if not drawing:
            return
        task.progress(0, 0, f"waiting for {drawing[0].kind} {drawing[0].id}, which draws with the model")
        time.sleep(POLL)


def _draws(kind: str) -> bool:
    return kind in COMMANDS and COMMANDS[kind].weights


def result(settings: TrainSettings, folder: Path, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """What a job and the command line tell."""
    snapshots = [f"{folder.name}/{name}" for name in outcome.snapshots]
    return {
        "name": folder.name,
        "folder": str(folder),
        "model": settings.model,
        "sampling": settings.objective.sampling.to_dict(),
        **outcome.to_dict(),
        "snapshots": snapshots,
        "last": f"{folder.name}/{outcome.last}" if outcome.last else "",
        "stopped": outcome.ended != "done",
        "seconds": round(seconds, 1),
        "summary": _words(settings, folder, outcome, seconds),
    }


def _words(settings: TrainSettings, folder: Path, outcome: Outcome, seconds: float) -> str:
    how = ENDED.get(outcome.ended, "ended by a guard")
    sampling = settings.objective.sampling.describe()
    lines = [f"{folder.name}: {how} at step {outcome.steps} of {outcome.total} in {seconds:.0f} s, {sampling}"]
    lines += [f" - {note}" for note in outcome.notes]
    lines += [f" ! left out: {name}: {why}" for name, why in (outcome.quarantined or {}).items()]
    lines.append(f"folder    {folder}")
    if outcome.last:
        lines.append(f"snapshot  {folder.name}/{outcome.last}")
        lines.append(f"then      grid training={folder.name}      bake training={folder.name} ratio=0.8")
    if outcome.ended not in ("done", "discarded"):
        lines.append(f"go on     train resume={folder.name}")
    return "\n".join(lines)
