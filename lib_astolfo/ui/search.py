"""The Search panel: what is varied and how on the left; plan and cost, studies and their results on the right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import compat, script, search_axes, search_back, search_fields, search_plan, search_runs, search_side
from .form import Form
from .search_values import NAMES, at_row, settings_of

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace


def build(workspace: Workspace, merge: Form) -> Any:
    """Make the panel inside the tab that is open; returns a function that fills it when the page is opened.

    ``merge``: the Merge panel's fields, which a winner's recipe may fill.
    """
    form = Form("astolfo_search", search_fields.APPLIES, NAMES)
    with gr.Row(elem_classes=["astolfo-sides"]):
        with gr.Column(scale=5, min_width=300, elem_id=form.element("fields")):
            told = search_fields.build(form, workspace)
            sides = search_side.build(workspace)
        with gr.Column(scale=9, min_width=320):
            plan = gr.HTML("", elem_id=form.element("plan"))
            with gr.Row():
                begin = gr.Button("Start search", variant="primary", min_width=140, elem_id=form.element("start"))
                demo = gr.Button("Run the demo", min_width=140, elem_id=form.element("demo"))
            errors = form.errors_line()
            past, shown = search_runs.build(workspace, form)
            hidden = _hidden(form)
    form.connect()
    search_axes.connect(form, workspace, told)
    strategy = form.fields["strategy"]
    compat.on(strategy.change, search_fields.strategy_words, [strategy], [form.beside["strategy"]])
    outputs = [past, shown]
    for button, act in ((begin, start), (demo, run_demo)):
        run = form.guarded(_starting(workspace, act), 2)
        compat.on(compat.on(button.click, run, form.inputs, [*outputs, errors]).then, None, js=script.WAKE)
    sides(outputs)
    looked = [plan, errors, *told]
    held: dict[str, Any] = {}  # what stands in the fields, for a page that is loaded anew

    def look(wrong: str, *values: Any) -> list[str]:
        held.update(zip(form.fields, values, strict=True))
        return search_plan.look(workspace, form, form.read(values), strict=bool(wrong))

    inputs = [errors, *form.inputs]
    compat.on(compat.on(hidden["look"].click, look, inputs, looked).then, None, js=script.CHECKED)
    search_side.connect(form, merge, workspace, (past, errors), hidden)

    def opened(page: gr.Blocks) -> None:
        compat.on(page.load, lambda: search_runs.latest(workspace), [], outputs)
        filled = compat.on(page.load, lambda: search_back.updates(form, workspace, held), [], form.inputs)
        compat.on(filled.then, look, inputs, looked)

    return opened


def _hidden(form: Form) -> dict[str, Any]:
    """Buttons that the page's script presses: they are not to be seen."""
    with gr.Row(elem_classes=["astolfo-hidden"]):
        return {name: gr.Button(name, elem_id=form.element(f"do_{name}")) for name in ("look", "again", "to_merge")}


def _starting(workspace: Workspace, act: Any) -> Any:
    return lambda values: search_runs.latest(workspace, act(workspace, values))


def start(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the grid or search; returns the job's id. Errors: BadInput naming the field."""
    try:
        kind, settings = settings_of(values)
        return workspace.submit(kind, settings).id
    except BadInput as error:
        raise at_row(error, values) from error


def run_demo(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the demo; returns the job's id."""
    return workspace.submit("demo", {}).id
