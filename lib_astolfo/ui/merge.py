"""The Merge panel: models, method, ratio, one button, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from . import blocks, choices, compat, html, script
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

DTYPES = ("fp16", "bf16", "fp32", "keep")
MODELS = (
    ("a", "A, base", "Ratio 0; the VAE is taken from here"),
    ("b", "B, trained", "Ratio 1"),
    ("c", "C, what B was trained from", "Its difference to B is added to A"),
)


def build(workspace: Workspace) -> None:
    """Make the panel inside the tab that is open."""
    from lib_astolfo.merging.methods import METHODS

    with_c = tuple(name for name, method in METHODS.items() if "c" in method.inputs)
    form = Form("astolfo_merge", {"c": ("method", with_c)}, {"output_name": "output", "VAE": "vae"})
    with gr.Row(elem_classes=["astolfo-sides"]):
        with gr.Column(scale=5, min_width=300):
            form.radio("method", "Method", "", list(METHODS), "weighted_sum")
            formula = gr.HTML(_formula("weighted_sum"), elem_id=form.element("formula"))
            a, *_ = choices.model_fields(form, workspace, MODELS)
        with gr.Column(scale=6, min_width=300):
            form.slider("ratio", "Ratio", "0 keeps A; 1 is B, or the whole difference", (0, 1, 0.01), value=0.5)
            blocks.fields(form, workspace, a)
            _file_fields(form)
            button = gr.Button("Merge to file", variant="primary", elem_id=form.element("start"))
            errors = form.errors_line()
            made = gr.HTML(html.note("The result appears here.", "placeholder"), elem_id=form.element("result"))
    form.connect()
    compat.on(form.fields["method"].change, _formula, [form.fields["method"]], [formula])
    started = compat.on(
        button.click, form.guarded(lambda values: [start(workspace, values)], 1), form.inputs, [made, errors]
    )
    compat.on(started.then, None, js=script.WAKE)


def _file_fields(form: Form) -> None:
    with gr.Row():
        form.radio("dtype", "Data type", "keep: each weight as in A", DTYPES, "fp16")
        form.radio("vae", "VAE", "B is rarely wanted: finetunes do not train it", ("A", "B"), "A")
    form.text("output", "File name", "In the first models folder; empty: made from the models and the ratio")
    with gr.Row():
        form.add("sidecar", gr.Checkbox, "Yaml beside it", "Tells a WebUI the prediction type", value=True)
        form.add("overwrite", gr.Checkbox, "Overwrite", "If the file is there already", value=False)


def _formula(method: str) -> str:
    from lib_astolfo.merging.methods import METHODS

    entry = METHODS[method]
    return html.note(entry.formula, "formula")


def start(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the merge that the panel describes; returns the place of its result. Errors: BadInput naming the field."""
    job = workspace.submit("merge", settings_of(values))
    return html.job_view(job.id, "merge", "Waiting for the merge…")


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the command ``merge`` from the panel's values."""
    ratios = blocks.read(values.get("blocks"))
    if values["vae"] == "B":
        ratios = {**(ratios or {}), "VAE": 1.0}
    settings = {
        "method": values["method"],
        "models": {slot: values[slot] for slot in ("a", "b", "c") if values.get(slot)},
        "ratio": values["ratio"],
        "dtype": values["dtype"],
        "output": values["output"] or "",
        "sidecar": values["sidecar"],
        "overwrite": values["overwrite"],
    }
    return {**settings, "blocks": ratios} if ratios else settings
