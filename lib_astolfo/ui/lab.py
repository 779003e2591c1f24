"""The Lab: base, merge and trained model draw the same seed side by side, and the ratio is a slider."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from . import blocks, choices, compat, html, script
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

UNCOND_MODES = ("host", "zero", "null", "comma", "text", "average")
PREDICTIONS = (choices.AUTO, "eps", "v", "x0", "rf")
MAX_SEED = 2**32 - 1
FIRST_SEED = 6  # a plain seven in the demo
RATIO_HELP = "0 is the base, 1 the trained model; moving it redraws the same seed"
APPLIES = {
    "shift": ("prediction", ("rf",)),
    "zero_terminal_snr": ("prediction", ("v",)),
    "uncond_weight": ("uncond", ("average",)),
    "uncond_text": ("uncond", ("text",)),
    "uncond_start": ("uncond", UNCOND_MODES[1:]),
    "uncond_end": ("uncond", UNCOND_MODES[1:]),
}


def build(workspace: Workspace) -> None:
    """Make the panel inside the tab that is open."""
    form = Form("astolfo_lab", APPLIES)
    demo = choices.is_demo(workspace)
    with gr.Row(elem_classes=["astolfo-sides"]):
        with gr.Column(scale=4, min_width=300):
            a, _ = choices.model_fields(form, workspace, choices.AB)
            _prompt_fields(form, demo)
            button = gr.Button("Draw", variant="primary", elem_id=form.element("draw"))
            _sampler_fields(form, demo)
        with gr.Column(scale=9, min_width=320, elem_classes=["astolfo-right"]):
            shown = gr.HTML(_empty(demo), elem_id=form.element("pictures"))
            errors = form.errors_line()
            form.slider("ratio", "Merge ratio", RATIO_HELP, (0, 1, 0.01), value=0.5)
            with gr.Row():
                with gr.Column(min_width=260):
                    _guidance_fields(form, demo)
                with gr.Column(min_width=260):
                    _uncond_fields(form)
            blocks.fields(form, workspace, a)
            recipe = compat.make(
                gr.Textbox,
                label="Recipe",
                info="One line of YAML, as merge, bake and the REST API take it",
                max_lines=5,
                interactive=False,
                show_copy_button=True,
                elem_id=form.element("recipe"),
            )
    form.connect()
    _connect(form, workspace, button, [shown, recipe], errors)


def _prompt_fields(form: Form, demo: bool) -> None:
    prompt = "red seven" if demo else ""
    form.text("prompt", "Prompt", "What to draw; Shift+Enter draws", lines=2, max_lines=6, value=prompt)
    form.text("negative", "Negative prompt", "What not to draw; for uncond host", max_lines=4)
    with gr.Row(elem_classes=["astolfo-line"]):
        form.whole("seed", "Seed", "The same seed is the same noise", FIRST_SEED)
        dice = gr.Button("Random", size="sm", min_width=80, scale=0, elem_id=form.element("dice"))
    rolled = compat.on(dice.click, lambda: random.randint(0, MAX_SEED), [], [form.fields["seed"]])
    compat.on(rolled.then, None, js=script.REDRAW)


def _guidance_fields(form: Form, demo: bool) -> None:
    form.slider("cfg", "CFG scale", "1 is no guidance", (1, 20, 0.1), value=3.0 if demo else 4.0)
    form.slider("cfg_rescale", "CFG rescale", "0 is none", (0, 1, 0.05), value=0)
    form.radio("prediction", "Prediction", "auto is what the models' files say", PREDICTIONS, choices.AUTO)
    form.slider("shift", "Shift", "Of the rf timesteps; 1 is none", (0.5, 8, 0.1), value=1)
    form.add("zero_terminal_snr", gr.Checkbox, "Zero terminal SNR", "Start from pure noise", value=False)


def _uncond_fields(form: Form) -> None:
    form.radio("uncond", "Uncond", "What guidance leads away from", UNCOND_MODES, "host")
    form.slider("uncond_weight", "Weight of null", "0 is zero, 1 is null", (0, 1, 0.05), value=0.7)
    form.text("uncond_text", "Text of the uncond", "Encoded as a positive prompt")
    form.slider("uncond_start", "From", "Share of the schedule; 0 is pure noise", (0, 1, 0.05), value=0)
    form.slider("uncond_end", "To", "1 is the last step; outside it is host", (0, 1, 0.05), value=1)


def _sampler_fields(form: Form, demo: bool) -> None:
    with gr.Accordion("Sampler, steps, size", open=False):
        choices.sampler_fields(form, 12 if demo else 20)
        with gr.Row():
            form.whole("width", "Width", "Pixels; 0: the model's own", 0)
            form.whole("height", "Height", "Pixels; 0: the model's own", 0)


def _connect(form: Form, workspace: Workspace, button: Any, outputs: list[Any], errors: Any) -> None:
    def run(values: dict[str, Any]) -> list[Any]:
        return draw(workspace, values)

    drawn = compat.on(button.click, form.guarded(run, len(outputs)), form.inputs, [*outputs, errors])
    compat.on(drawn.then, None, js=script.DRAWN)
    for name, field in form.fields.items():
        if name in ("prompt", "negative", "uncond_text", "seed"):
            event = field.submit
        else:
            event = field.change if name in ("a", "b", "blocks") else field.input
        compat.on(event, None, js=script.REDRAW)


def draw(workspace: Workspace, values: Mapping[str, Any]) -> list[Any]:
    """The pictures in HTML and the recipe as one line, from the panel's values. Errors: BadInput naming the field."""
    from lib_astolfo.commands import lab, settings

    given = {name: choices.not_auto(value) for name, value in values.items()}
    given["blocks"] = blocks.read(given.get("blocks"))
    request = settings.from_dict(lab.LabRequest, given)
    pictures = lab.draw(workspace, request)
    words = {"base": "Base", "merge": f"Merge {request.ratio:g}", "trained": "Trained"}
    if request.blocks:
        words["merge"] = "Merge by blocks"
    return [html.figures([html.figure(pictures[name], name, words[name]) for name in pictures]), recipe_line(request)]


def recipe_line(request: Any) -> str:
    """The recipe of a request as one line of YAML."""
    from lib_astolfo.merging.line import to_line
    from lib_astolfo.merging.recipe import Recipe

    models = {"a": request.a, "b": request.b}
    return to_line(Recipe(request.method, models, request.ratio, request.blocks, dtype=request.dtype))


def _empty(first: bool) -> str:
    words = "Drawing…" if first else "Press Draw"
    items = [html.empty_figure(name, name.capitalize(), words) for name in ("base", "merge", "trained")]
    return html.figures(items, first=first)
