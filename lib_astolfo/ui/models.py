"""The Models panel: what checkpoints are, measured and read, and what was decided about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from . import choices, compat, decide, html, markers, script
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

NOTHING = "Curves, figures and advice appear here: press Probe to measure, Examine to read what the files say."


def build(workspace: Workspace) -> Any:
    """Make the panel inside the tab that is open; returns a function that fills it when the page is opened."""
    form = Form("astolfo_models", names={"models": "chosen", "model": "chosen"})
    with gr.Row(elem_classes=["astolfo-sides"]):
        with gr.Column(scale=4, min_width=300):
            chosen = _list(form, workspace)
            examine = gr.Button("Examine", elem_id=form.element("examine"))
            errors = form.errors_line()
            with gr.Accordion("Decide: yaml and memory", open=False, elem_id="astolfo_decide_panel"):
                place = decide.fields(workspace, chosen)
            with gr.Accordion("Marker keys", open=False, elem_id="astolfo_markers_panel"):
                markers.fields(workspace, chosen)
        with gr.Column(scale=9, min_width=320):
            shown = gr.HTML(html.note(NOTHING, "placeholder"), elem_id=form.element("result"))
    started = compat.on(
        examine.click, form.guarded(lambda values: [doctor(workspace, values)], 1), form.inputs, [shown, errors]
    )
    compat.on(started.then, None, js=script.WAKE)

    def fill(page: gr.Blocks) -> None:
        compat.on(page.load, place.fill, [], [place.known])

    return fill


def _list(form: Form, workspace: Workspace) -> Any:
    """The list of checkpoints, of which several may be chosen."""
    found = choices.names(workspace)
    first = [name for name in choices.pair(workspace)[:1] if name]
    options = {"choices": found, "value": first, "multiselect": True}
    listed = form.add("chosen", gr.Dropdown, "Checkpoints", "One or several; type to search the list", **options)
    about = gr.HTML(_about(workspace, first), elem_id=form.element("about"))
    button = gr.Button("Refresh list", size="sm", elem_id=form.element("refresh"))
    compat.on(listed.change, lambda names: _about(workspace, names), [listed], [about])
    compat.on(button.click, lambda: compat.change(choices=choices.names(workspace)), [], [listed])
    return listed


def _about(workspace: Workspace, names: list[str] | None) -> str:
    return "".join(choices.describe(workspace, name) for name in names or [])


def doctor(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the examination; returns the place of its report. Errors: BadInput naming the field."""
    job = workspace.submit("doctor", {"models": decide.chosen_of(values)})
    return html.job_view(job.id, "doctor", "Reading…")
