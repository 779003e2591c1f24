"""The Merge panel: models, method, ratio, what is more precise than one ratio, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from . import blocks, compat, html, merge_models, merge_more, script
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

DTYPES = ("fp16", "bf16", "fp32", "keep")
NAMES = {"output_name": "output", "VAE": "vae", "source": "recipe"}
"""Ends of an error's place to the field that shows it."""


def build(workspace: Workspace) -> Form:
    """Make the panel inside the tab that is open; returns its fields."""
    form = Form("astolfo_merge", merge_models.applies(), NAMES)
    with gr.Row(elem_classes=["astolfo-sides"]):
        with gr.Column(scale=5, min_width=300):
            a, formula = merge_models.fields(form, workspace)
        with gr.Column(scale=6, min_width=300):
            form.slider("ratio", "Ratio", "0 keeps A; 1 is B, or the method's whole result", (0, 1, 0.01), value=0.5)
            blocks.fields(form, workspace, a)
            write = merge_more.fields(form)
            _file_fields(form)
            with gr.Row():
                button = gr.Button("Merge to file", variant="primary", elem_id=form.element("start"))
                preview = gr.Button("Preview", elem_id=form.element("preview"))
                apply = gr.Button("Apply to the loaded model", elem_id=form.element("live"))
                restore = gr.Button("Take it out", elem_id=form.element("restore"))
            errors = form.errors_line()
            made = gr.HTML(html.note("The result appears here.", "placeholder"), elem_id=form.element("result"))
    form.connect()
    merge_models.connect(form, formula)
    merge_more.connect(form, write, settings_of)
    for pressed, act in ((button, start), (preview, show_first), (apply, apply_live), (restore, take_out)):
        run = form.guarded(_acting(workspace, act), 1)
        compat.on(compat.on(pressed.click, run, form.inputs, [made, errors]).then, None, js=script.WAKE)
    return form


def _acting(workspace: Workspace, act: Callable[[Workspace, Mapping[str, Any]], str]) -> Callable[..., list[str]]:
    return lambda values: [act(workspace, values)]


def _file_fields(form: Form) -> None:
    with gr.Row():
        form.radio("dtype", "Data type", "keep: each weight as in A", DTYPES, "fp16")
        form.radio("vae", "VAE", "B is rarely wanted: finetunes do not train it", ("A", "B"), "A")
    form.text("output", "File name", "In the first models folder; empty: made from the models and the ratio")
    with gr.Row():
        form.add("sidecar", gr.Checkbox, "Yaml beside it", "Tells a WebUI the prediction type", value=True)
        form.add("overwrite", gr.Checkbox, "Overwrite", "If the file is there already", value=False)


def start(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the merge that the panel describes; returns the place of its result. Errors: BadInput naming the field."""
    job = workspace.submit("merge", settings_of(values))
    return html.job_view(job.id, "merge", "Waiting for the merge…")


def show_first(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the preview: what the merge will need, and what it does to one percent of the weights."""
    job = workspace.submit("merge", {**settings_of(values), "preview": True})
    return html.job_view(job.id, "merge", "Waiting for the preview…")


def apply_live(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Write the merge into the loaded weights. Errors: BadInput naming the field, Failed."""
    from lib_astolfo.commands import live

    recipe, read = live_values(workspace, values)
    state = live.put(workspace, recipe)
    report = state["report"]
    words = f"{state['model']} now holds {state['description']}: {report['merged']} tensors merged"
    return html.note(words, "headline") + "".join(html.note(line) for line in (*read, *report["notes"]))


def take_out(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Put the loaded model's own weights back."""
    from lib_astolfo.commands import live

    state = live.delete(workspace)
    return html.note(f"{state['model']} holds its own weights" if state["model"] else "No model is loaded")


def live_values(workspace: Workspace, values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The recipe of the panel as ``commands.live.put`` takes it, and what was decided in reading it from a text of
    another program. Errors: BadInput."""
    from lib_astolfo.commands import live, sources

    settings = settings_of(values)
    if settings.get("source"):
        reading = sources.read(settings["source"], workspace)
        return reading.recipe.to_dict(), tuple(reading.notes)
    return {name: value for name, value in settings.items() if name in live.RECIPE_KEYS}, ()


def _source(text: str) -> str:
    """A recipe's text, or the name of a merged checkpoint, as ``merge`` tells them apart. Errors: BadInput."""
    from lib_astolfo.merging import recipes

    if "\n" in text or not any(mark in text for mark in ":{"):
        return text
    return recipes.read(text, "recipe").recipe.to_yaml()


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the command ``merge`` from the panel's values. Errors: BadInput naming the field."""
    file = {
        "output": values["output"] or "",
        "sidecar": values["sidecar"],
        "overwrite": values["overwrite"],
    }
    if (values.get("recipe") or "").strip():
        return {"source": _source(values["recipe"].strip()), **file}
    ratios = blocks.read(values.get("blocks"))
    if values["vae"] == "B":
        ratios = {**(ratios or {}), "VAE": 1.0}
    method = {"method": values["method"], "models": merge_models.read(values), "dtype": values["dtype"]}
    if "ratio" in values:
        method["ratio"] = values["ratio"]
    more = {"blocks": ratios, "options": merge_models.options(values), **merge_more.read(values)}
    return {**method, **file, **{name: value for name, value in more.items() if value}}
