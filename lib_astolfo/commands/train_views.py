"""Trainings as people see them: a list, one of them, and what belongs to a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Over

from . import train_runs
from .train_runs import TrainingFolder

if TYPE_CHECKING:
    from lib_astolfo.jobs import Job

    from .workspace import Workspace


def overview(workspace: Workspace) -> dict[str, Any]:
    """GET /training."""
    active = workspace.training
    runs = [_short(workspace, run) for run in train_runs.listing(workspace)]
    return {"active": active.state() if active is not None else None, "runs": runs}


def one(workspace: Workspace, word: str) -> dict[str, Any]:
    """GET /training/{name}. Errors: Unknown."""
    run = train_runs.find(workspace, word)
    settings: dict[str, Any] | None
    try:
        settings = run.settings
    except BadInput:
        settings = None
    found = {"settings": settings, "report": run.report, "files": train_runs.files_of(run)}
    return {**_short(workspace, run), **found}


def of_job(workspace: Workspace, job: Job) -> dict[str, Any]:
    """What GET /jobs/{id} has besides, for a job of a training: ``training``, null when nothing of it is there."""
    if job.kind != "train":
        return {}
    active = workspace.training
    if active is not None and active.job == job.id:
        return {"training": active.state()}
    try:
        return {"training": _short(workspace, train_runs.find(workspace, job.id))}
    except BadInput:
        return {"training": None}


def check_resume(workspace: Workspace, job: Job) -> None:
    """Over, with the way to go on, for a job that was a training and has ended: a training goes on as a new job."""
    if job.kind != "train" or not job.over:
        return
    try:
        run = train_runs.find(workspace, job.id)
    except BadInput:
        return
    expected = f"POST /training/{run.name}/resume: a new job goes on from its last checkpoint, step {run.step}"
    raise Over(f"job {job.id}", f"it is {job.state} already", expected)


def _short(workspace: Workspace, run: TrainingFolder) -> dict[str, Any]:
    active = workspace.training
    busy = active is not None and active.name == run.name
    return {
        "name": run.name,
        "folder": str(run.path),
        "running": busy,
        "step": run.step,
        "ended": "" if busy else str(run.report.get("ended", "")),
        "resumable": not busy and run.step > 0 and run.report.get("ended") != "done",
        "snapshots": [
            {"name": run.name_of(path), "step": train_runs.step_of(path), "bytes": path.stat().st_size}
            for path in run.snapshots
        ],
    }
