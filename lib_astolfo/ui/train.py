"""The Train panel: settings on the left; on the right the data before the start, and the runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from . import choices, compat, script, train_captions, train_fields, train_kohya, train_plan, train_runs
from .form import Form
from .train_back import fields_of
from .train_keys import NAMES, Tree
from .train_values import settings_of

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

PRESETS = {
    "": "the fields as they are",
    "chained_cosine": "chained cosines with stepped maxima, the text encoder frozen in turns (90 epochs)",
    "swap_v": "to v with zero terminal SNR: OUT02 and OUT08, the first fifth from the base itself",
    "swap_rf": "to rectified flow: OUT02 and OUT08, the first fifth from the base itself",
    "digits": "the digits laboratory: to v, with its own pictures, on a processor",
}
Act = Callable[["Workspace", Mapping[str, Any]], str]


def build(workspace: Workspace) -> Any:
    """Make the panel inside the tab that is open; returns a function that fills it when the page is opened."""
    form = Form("astolfo_train", train_fields.APPLIES, NAMES)
    with gr.Row(elem_classes=["astolfo-sides"]):
        with gr.Column(scale=5, min_width=300):
            preset = _preset(form)
            train_fields.build(form, workspace)
            with gr.Accordion("More settings", open=False, elem_id=form.element("more_panel")):
                words = "YAML of `train`, which stands over the fields; `train --help` lists all keys"
                form.text("more", "As YAML", words, lines=3, max_lines=30)
            kohya = train_kohya.build(form, workspace)
            captions = train_captions.build(workspace)
        with gr.Column(scale=9, min_width=320):
            with gr.Row():
                begin = gr.Button("Start training", variant="primary", min_width=140, elem_id=form.element("start"))
                look = gr.Button("Look at the data first", min_width=140, elem_id=form.element("report"))
            errors = form.errors_line()
            past, shown = train_runs.build(form)
    form.connect()
    plan = form.beside["plan"]
    train_plan.connect(form, plan)
    outputs = [past, shown]
    for button, act in ((begin, start), (look, report)):
        run = form.guarded(train_runs.starting(workspace, act), 2)
        compat.on(compat.on(button.click, run, form.inputs, [*outputs, errors]).then, None, js=script.WAKE)
    captions(workspace, outputs)
    fill = [form.fields[name] for name in shown_fields(form)]
    compat.on(preset.change, lambda name: updates(form, workspace, preset_values(name)), [preset], fill)
    kohya(lambda values: updates(form, workspace, values), fill)

    def opened(page: gr.Blocks) -> None:
        filled = [*outputs, form.fields["model"]]
        compat.on(page.load, lambda: [*train_runs.latest(workspace), _models(workspace)], [], filled)
        compat.on(page.load, lambda *values: train_plan.draw(form.read(values)), form.inputs, [plan])

    return opened


def _preset(form: Form) -> Any:
    listed = [f"{name}: {words}" if name else words for name, words in PRESETS.items()]
    info = "Fills the fields; what none of them shows stands under More settings"
    return compat.make(
        gr.Dropdown, label="Start from", info=info, choices=listed, value=listed[0], elem_id=form.element("preset")
    )


def _models(workspace: Workspace) -> Any:
    """The list as it is now, with the loaded checkpoint chosen if there is one."""
    found, model = choices.names(workspace), workspace.host.model
    loaded = model.entry.name if model is not None else None
    return compat.change(choices=found, value=loaded) if loaded in found else compat.change(choices=found)


def start(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the training; returns the job's id. Errors: BadInput naming the field."""
    return workspace.submit("train", settings_of(values)).id


def report(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the look at data and memory before the start; returns the job's id. Errors: BadInput naming the field."""
    return workspace.submit("train", {**settings_of(values), "report": True}).id


def defaults() -> Tree:
    """All settings of a run that says nothing."""
    from lib_astolfo.commands.train_settings import TrainSettings

    return TrainSettings().to_dict()


def preset_values(line: str | None) -> Tree:
    """The settings of a preset's line; none for the first line."""
    from lib_astolfo.commands.train_settings import TrainSettings

    name = (line or "").partition(":")[0]
    if name not in PRESETS or not name:
        return {}
    return {**TrainSettings.from_plain({"preset": name}).to_plain(), "preset": "", "report": False}


def shown_fields(form: Form) -> list[str]:
    """The fields that a preset or an import fills: all, the model and the name only where they are given."""
    return list(form.fields)


def updates(form: Form, workspace: Workspace, values: Mapping[str, Any]) -> list[Any]:
    """New values of ``shown_fields``; the data sets, the model and the run's name stay where nothing is said."""
    found = fields_of(values, defaults()) if values else {}
    keep = {name for name in ("model", "name", "sources") if not found.get(name)}
    if found.get("model") not in choices.names(workspace):
        keep.add("model")
    if values and "data" not in values:
        keep |= {"resolution", "smallest", "longest"}
    known = [name for name in shown_fields(form) if name in found and name not in keep]
    return [compat.change(value=found[name]) if name in known else compat.change() for name in shown_fields(form)]
