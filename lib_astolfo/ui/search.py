"""The Search panel: a grid over ratio, CFG and uncond, its pictures and scores as they come, and the winner."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import choices, compat, html, script
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.jobs import Job

KINDS = ("grid", "demo")
AXES = ("ratio", "cfg", "uncond", "prediction")
SAME = ("pictures", "seed", "sampler", "schedule", "steps", "scores", "primary")
RANGE_HELP = "A list, or a range: 0-1 [11] is points, 0-1 (+0.1) is steps"
NOTHING = "Pictures, curves and the report appear here while a search runs."


def build(workspace: Workspace) -> Any:
    """Make the panel inside the tab that is open; returns a function that fills it when the page is opened."""
    form = Form("astolfo_search", names={"models": "a", "axes": "ratio"})
    with gr.Row(elem_classes=["astolfo-sides"]):
        with gr.Column(scale=4, min_width=300):
            choices.model_fields(form, workspace, choices.AB)
            _axes_fields(form)
            _picture_fields(form, choices.is_demo(workspace))
            button = gr.Button("Start search", variant="primary", elem_id=form.element("start"))
            demo = gr.Button("Run the demo", elem_id=form.element("demo"))
            errors = form.errors_line()
        with gr.Column(scale=9, min_width=320):
            past = _results(workspace, form)
            shown = gr.HTML(html.note(NOTHING, "placeholder"), elem_id=form.element("result"))
    started = compat.on(
        button.click, form.guarded(lambda v: _start(workspace, v), 2), form.inputs, [past, shown, errors]
    )
    ran = compat.on(demo.click, form.guarded(lambda _: _demo(workspace), 2), form.inputs, [past, shown, errors])
    picked = compat.on(past.change, _view, [past], [shown])
    for event in (started, ran, picked):
        compat.on(event.then, None, js=script.WAKE)

    def fill(page: gr.Blocks) -> None:
        compat.on(page.load, lambda: _latest(workspace), [], [past, shown])

    return fill


def _axes_fields(form: Form) -> None:
    form.text("ratio", "Merge ratios", RANGE_HELP, value="0-1 [6]")
    form.text("cfg", "CFG scales", "A list or a range", value="2, 4")
    form.text("uncond", "Unconds", "Of host, zero, null, comma, average 0.7, text: words", value="zero, null")


def _picture_fields(form: Form, demo: bool) -> None:
    prompts = "red seven\ngreen two\nblue five\nyellow zero" if demo else ""
    form.text("prompts", "Prompts", "One a line; more make the answer surer", value=prompts, lines=4, max_lines=12)
    with gr.Row():
        form.whole("pictures", "Pictures a cell", "Same seeds in all", 16 if demo else 4)
        form.whole("seed", "First seed", "Then one more each", 1)
    with gr.Accordion("Sampler and scores", open=False):
        form.text("negative", "Negative prompt", "For uncond host")
        choices.sampler_fields(form, 8 if demo else 20)
        form.text("prediction", "Predictions", "As v, v ztsnr, rf shift 3; empty: what the models say")
        known, words = choices.scores(), "None ticked: all that fit the models"
        form.add("scores", gr.CheckboxGroup, "Scores", words, choices=known, value=[])
        listed = [choices.AUTO, *known]
        form.add("primary", gr.Dropdown, "Deciding score", "Chooses the winner", choices=listed, value=choices.AUTO)


def _results(workspace: Workspace, search: Form) -> Any:
    """The list of searches, and the button that bakes the winner of the one that is shown; returns the list."""
    form = Form("astolfo_bake", names={"job": "output"})
    with gr.Row(elem_classes=["astolfo-line"]):
        wide = {"scale": 3, "elem_id": search.element("past"), "choices": []}
        past = compat.make(gr.Dropdown, label="Searches", info="The newest is on top", **wide)
        form.fields["job"] = past
        form.text("output", "File name of the winner", "Empty: made from the models", scale=2)
        button = gr.Button("Bake the winner", size="sm", elem_id=form.element("start"), scale=0, min_width=140)
    errors = form.errors_line()
    made = gr.HTML("", elem_id=form.element("result"))
    baked = compat.on(button.click, form.guarded(lambda v: [bake(workspace, v)], 1), form.inputs, [made, errors])
    compat.on(baked.then, None, js=script.WAKE)
    return past


def label(job: Job) -> str:
    """A search's line in the list of past ones; it ends with the job's id."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
    models = (job.settings.get("models") or {}).values()
    names = [str(name).rsplit("/", 1)[-1].removesuffix(".safetensors") for name in models]
    return f"{when} · {' + '.join(names) or job.kind} · {job.id}"


def job_id(line: str | None) -> str:
    """The job's id in a line made by ``label``."""
    return (line or "").rsplit(" ", 1)[-1]


def searches(workspace: Workspace) -> list[str]:
    """The lines of all searches, newest first."""
    return [label(job) for job in workspace.jobs.list() if job.kind in KINDS]


def _latest(workspace: Workspace, wanted: str = "") -> list[Any]:
    lines = searches(workspace)
    line = next((line for line in lines if job_id(line) == wanted), lines[0] if lines else None)
    return [compat.change(choices=lines, value=line), _view(line)]


def _view(line: str | None) -> str:
    return (
        html.job_view(job_id(line), "grid", "Waiting for the first cell…")
        if line
        else html.note(NOTHING, "placeholder")
    )


def _start(workspace: Workspace, values: Mapping[str, Any]) -> list[Any]:
    return _latest(workspace, workspace.submit("grid", settings_of(values)).id)


def _demo(workspace: Workspace) -> list[Any]:
    return _latest(workspace, workspace.submit("demo", {}).id)


def bake(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the baking of a search's winner; returns the place of its result. Errors: BadInput naming the field."""
    searched = job_id(values["job"])
    if not searched:
        raise BadInput("job", "none", "a finished search in the list above")
    job = workspace.submit("bake", {"job": searched, "output": values["output"] or ""})
    return html.job_view(job.id, "bake", "Waiting for the file…")


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the command ``grid`` from the panel's values."""
    axes = {name: items(values[name]) for name in AXES}
    settings = {name: choices.not_auto(values[name]) for name in SAME}
    return {
        **settings,
        "models": {slot: values[slot] or "" for slot in ("a", "b")},
        "axes": {name: given for name, given in axes.items() if given},
        "prompts": [line.strip() for line in (values["prompts"] or "").splitlines() if line.strip()],
        "negative": values["negative"] or "",
    }


def items(text: str | None) -> str | list[str]:
    """A field's list, split at commas; a single entry stays a text, which may be a range."""
    found = [part.strip() for part in (text or "").split(",") if part.strip()]
    return found[0] if len(found) == 1 else found
