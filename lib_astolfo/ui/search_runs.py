"""The list of grids and searches, the place where one of them is shown, and what is done with its winner."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import compat, html, script
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.jobs import Job

KINDS = ("grid", "search", "demo", "exhaust")
LOOKED_AT = 500  # jobs
NOTHING = (
    "Pictures in a labelled sheet, curves with error bars and the verdict appear here while a search runs; it goes on "
    "when the page is closed, and is found again."
)


def build(workspace: Workspace, form: Form) -> tuple[Any, Any]:
    """The list and the place."""
    with gr.Row(elem_classes=["astolfo-line"]):
        wide = {"scale": 4, "elem_id": form.element("past"), "choices": [], "min_width": 200}
        past = compat.make(gr.Dropdown, label="Studies", info="The newest is on top; a running one goes on", **wide)
        fresh = gr.Button("Refresh", size="sm", elem_id=form.element("latest"), scale=0, min_width=90)
    shown = gr.HTML(html.note(NOTHING, "placeholder"), elem_id=form.element("result"))
    picked = compat.on(past.change, view, [past], [shown])
    renewed = compat.on(fresh.click, lambda: latest(workspace), [], [past, shown])
    for event in (picked, renewed):
        compat.on(event.then, None, js=script.WAKE)
    return past, shown


def label(job: Job) -> str:
    """A study's line in the list; it ends with the job's id."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
    settings = job.settings
    folder = str(settings.get("folder") or "").rsplit("/", 1)[-1]
    models = settings.get("models") or {}
    names = [str(name).rsplit("/", 1)[-1].removesuffix(".safetensors") for name in _values(models)]
    kind = str(settings.get("strategy") or job.kind)
    ended = f" · {job.state}" if job.over and job.state != "done" else ""
    return f"{when} · {kind} · {folder or ' + '.join(names) or job.kind}{ended} · {job.id}"


def _values(models: Any) -> list[Any]:
    return list(models.values()) if isinstance(models, Mapping) else list(models)


def job_id(line: str | None) -> str:
    """The job's id in a line made by ``label``."""
    return (line or "").rsplit(" ", 1)[-1]


def jobs(workspace: Workspace) -> list[Job]:
    """All grids and searches, newest first."""
    return [job for job in workspace.jobs.list(LOOKED_AT) if job.kind in KINDS]


def latest(workspace: Workspace, wanted: str = "") -> list[Any]:
    """The list, and the place of the wanted one: else of the one that runs, else of the newest."""
    found = jobs(workspace)
    running = next((job.id for job in found if job.started and not job.over), "")
    lines = {job.id: label(job) for job in found}
    line = lines.get(wanted) or lines.get(running) or next(iter(lines.values()), None)
    return [compat.change(choices=list(lines.values()), value=line), view(line)]


def view(line: str | None) -> str:
    """The place of a study."""
    return (
        html.job_view(job_id(line), "grid", "Waiting for the first cell…")
        if line
        else html.note(NOTHING, "placeholder")
    )


def chosen(workspace: Workspace, line: str | None) -> Job:
    """The study of a line. Errors: BadInput."""
    if not job_id(line):
        raise BadInput("past", "none", "a study in the list above")
    return workspace.jobs.get(job_id(line))


def winner(workspace: Workspace, line: str | None) -> Mapping[str, Any]:
    """What the study has found. Errors: BadInput where it has no winner, or one that is no merge."""
    found = (chosen(workspace, line).result or {}).get("winner")
    if not found or not found.get("recipe"):
        raise BadInput("past", "a study without a winner that is a merge", "one that is over and has chosen")
    return found
