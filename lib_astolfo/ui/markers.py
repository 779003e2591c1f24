"""Marker keys of one checkpoint, set in a copy of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from . import compat, html, script
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

AUTO, NONE, THESE = "those that fit", "none", "these"
HELP = "Those that fit are what reForge and ComfyUI need for the prediction; all others are removed"


def fields(workspace: Workspace, chosen: Any) -> None:
    """The fields and their button; ``chosen`` is the list of checkpoints, of which one must be chosen."""
    from lib_astolfo.checkpoints.prediction import MARKERS

    names = {"model": "chosen", "models": "chosen", "output_name": "output"}
    form = Form("astolfo_markers", {"these": ("markers", (THESE,))}, names)
    form.fields["chosen"] = chosen
    form.labels["chosen"] = "Checkpoints"
    form.radio("markers", "Marker keys", HELP, (AUTO, NONE, THESE), AUTO)
    form.add("these", gr.CheckboxGroup, "Keys", "Without weights; only their presence counts", choices=list(MARKERS))
    form.text("output", "File name of the copy", "Empty: the checkpoint itself, which must then be overwritten")
    form.add("overwrite", gr.Checkbox, "Overwrite", "The file of this name, or the checkpoint itself", value=False)
    button = gr.Button("Write with these markers", size="sm", elem_id=form.element("start"))
    errors = form.errors_line()
    made = gr.HTML("", elem_id=form.element("result"))
    form.connect()
    started = compat.on(
        button.click, form.guarded(lambda values: [start(workspace, values)], 1), form.inputs, [made, errors]
    )
    compat.on(started.then, None, js=script.WAKE)


def start(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the writing; returns the place of its result. Errors: BadInput naming the field."""
    job = workspace.submit("doctor", settings_of(values))
    return html.job_view(job.id, "doctor", "Waiting for the copy…")


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the command ``doctor`` that write a file."""
    words: Any = {AUTO: "auto", NONE: "none"}.get(values["markers"])
    return {
        "models": list(values.get("chosen") or []),
        "markers": words if words is not None else list(values.get("these") or []),
        "output": values["output"] or "",
        "overwrite": bool(values["overwrite"]),
    }
