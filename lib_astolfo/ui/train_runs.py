"""The list of trainings, reports and captionings, and the place where one of them is shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from . import compat, html, script
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.jobs import Job

KINDS = ("train", "caption")
NOTHING = (
    "Pictures by bucket, what was left out and why, what options do nothing, and the memory that is needed appear here "
    "before the start; curves, previews and the ratio's slider while it runs."
)


def build(form: Form) -> tuple[Any, Any]:
    """The list and the place."""
    past = compat.make(
        gr.Dropdown, label="Runs and reports", info="The newest is on top", choices=[], elem_id=form.element("past")
    )
    shown = gr.HTML(html.note(NOTHING, "placeholder"), elem_id=form.element("result"))
    compat.on(compat.on(past.change, view, [past], [shown]).then, None, js=script.WAKE)
    return past, shown


def starting(
    workspace: Workspace, act: Callable[[Workspace, Mapping[str, Any]], str]
) -> Callable[[Mapping[str, Any]], list[Any]]:
    """An event that queues a job and shows it."""
    return lambda values: latest(workspace, act(workspace, values))


def label(job: Job) -> str:
    """A job's line; it ends with the job's id."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
    settings = job.settings
    if job.kind == "caption":
        words = f"captions of {str(settings.get('folder', '')).replace(chr(92), '/').rsplit('/', 1)[-1]}"
    else:
        name = settings.get("name") or settings.get("resume") or str(settings.get("model", "")).rsplit("/", 1)[-1]
        words = f"{'report' if settings.get('report') else 'training'} {name}".strip()
    return f"{when} · {words} · {job.id}"


def job_id(line: str | None) -> str:
    """The job's id in a line made by ``label``."""
    return (line or "").rsplit(" ", 1)[-1]


def latest(workspace: Workspace, wanted: str = "") -> list[Any]:
    """The list, newest first, and the place of the wanted one: else of the training that runs, else of the newest."""
    active = workspace.training
    wanted = wanted or (active.job if active is not None else "")
    lines = [label(job) for job in workspace.jobs.list() if job.kind in KINDS]
    line = next((line for line in lines if job_id(line) == wanted), lines[0] if lines else None)
    return [compat.change(choices=lines, value=line), view(line)]


def view(line: str | None) -> str:
    """The place of a job."""
    return html.job_view(job_id(line), "train", "Waiting…") if line else html.note(NOTHING, "placeholder")
