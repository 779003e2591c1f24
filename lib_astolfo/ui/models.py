"""The Models panel: what checkpoints are, measured and read, and what was decided about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import choices, compat, decide, html, markers, script, search_runs, tools
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.jobs import Job

WORDS = {
    "probe": "probe",
    "doctor": "examination",
    "differences": "differences",
    "extract": "LoRA",
    "lora": "LoRA files",
    "arithmetic": "carried over",
    "genealogy": "family",
}
"""Kinds of jobs whose results are shown here, in words."""
NOTHING = "Curves, figures and advice appear here: press Probe to measure, Examine to read what the files say."


def build(workspace: Workspace) -> Any:
    """Make the panel inside the tab that is open; returns a function that fills it when the page is opened."""
    form = Form("astolfo_models", names={"models": "chosen", "model": "chosen"})
    with gr.Row(elem_classes=["astolfo-sides"]):
        with gr.Column(scale=4, min_width=300):
            chosen = _list(form, workspace)
            with gr.Row():
                start = gr.Button("Probe", variant="primary", min_width=120, elem_id=form.element("probe"))
                examine = gr.Button("Examine", min_width=120, elem_id=form.element("examine"))
            errors = form.errors_line()
            with gr.Row():
                form.add("check_values", gr.Checkbox, "Read every value", "Examine finds NaN and outliers", value=False)
                form.add("identity", gr.Checkbox, "Hash the parts", "Whose VAE and text encoders", value=False)
            _probe_fields(form)
            with gr.Accordion("Decide: yaml and memory", open=False, elem_id="astolfo_decide_panel"):
                place = decide.fields(workspace, chosen)
            with gr.Accordion("Marker keys", open=False, elem_id="astolfo_markers_panel"):
                markers.fields(workspace, chosen)
            found = tools.fields(workspace, chosen)
        with gr.Column(scale=9, min_width=320):
            past = compat.make(
                gr.Dropdown, label="Results", info="The newest is on top", choices=[], elem_id=form.element("past")
            )
            shown = gr.HTML(html.note(NOTHING, "placeholder"), elem_id=form.element("result"))
    outputs = [past, shown]
    for button, act in ((start, probe), (examine, doctor)):
        run = form.guarded(_starting(workspace, act), len(outputs))
        compat.on(compat.on(button.click, run, form.inputs, [*outputs, errors]).then, None, js=script.WAKE)
    for tool in found:
        run = tool.form.guarded(_starting(workspace, tool.act), len(outputs))
        started = compat.on(tool.button.click, run, tool.form.inputs, [*outputs, tool.errors])
        compat.on(started.then, None, js=script.WAKE)
    compat.on(compat.on(past.change, _view, [past], [shown]).then, None, js=script.WAKE)

    def fill(page: gr.Blocks) -> None:
        outputs = [past, shown, place.known, chosen]
        compat.on(page.load, lambda: [*latest(workspace), place.fill(), _fresh(workspace)], [], outputs)

    return fill


def _starting(workspace: Workspace, act: Callable[[Workspace, Mapping[str, Any]], str]) -> Callable[..., list[Any]]:
    return lambda values: latest(workspace, act(workspace, values))


def _probe_fields(form: Form) -> None:
    with gr.Accordion("Pictures and noise levels", open=False, elem_id=form.element("pictures_panel")):
        words = "Pictures the model should know, .txt captions beside; in the outputs or models folders; empty: digits"
        form.text("pictures", "Folder of pictures", words)
        with gr.Row():
            form.whole("count", "Pictures", "2 to 2000", 64)
            form.whole("seed", "Seed", "Of the noise", 0)
        with gr.Row():
            form.whole("width", "Width", "Pixels; 0: the model's own", 0)
            form.whole("height", "Height", "Pixels; 0: the model's own", 0)
        form.text("sigmas", "Noise levels of the prediction", "Sigmas, with commas", value="0.3, 1, 3, 10")
        form.add("uncond", gr.Checkbox, "Zero against null too", "Half again as long", value=True)
        levels = "0.1, 0.3, 1, 2, 3, 5, 10, 14.6"
        form.text("uncond_sigmas", "Noise levels of the uncond", "Sigmas, with commas", value=levels)
        form.text("sampling", "Read the unconds as", "As v ztsnr or rf; empty: as found")


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


def _fresh(workspace: Workspace) -> Any:
    """The list as it is now, with the loaded checkpoint chosen if there is one."""
    found, model = choices.names(workspace), workspace.host.model
    loaded = model.entry.name if model is not None else None
    return compat.change(choices=found, value=[loaded]) if loaded in found else compat.change(choices=found)


def _about(workspace: Workspace, names: list[str] | None) -> str:
    return "".join(choices.describe(workspace, name) for name in names or [])


def probe(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the measurement; returns the job's id. Errors: BadInput naming the field."""
    return workspace.submit("probe", settings_of(values)).id


def doctor(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the examination; returns the job's id. Errors: BadInput naming the field."""
    deep = {name: bool(values.get(name)) for name in ("check_values", "identity")}
    return workspace.submit("doctor", {"models": decide.chosen_of(values), **deep}).id


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the command ``probe`` from the panel's values. Errors: BadInput."""
    same = ("pictures", "count", "seed", "width", "height", "uncond")
    return {
        **{name: values[name] for name in same if values[name] is not None},
        "models": decide.chosen_of(values),
        "sampling": values["sampling"] or "",
        **{name: _numbers(name, values[name]) for name in ("sigmas", "uncond_sigmas")},
    }


def _numbers(name: str, text: str | None) -> list[float]:
    try:
        return [float(part) for part in (text or "").replace(";", ",").split(",") if part.strip()]
    except ValueError as error:
        raise BadInput(name, repr(text), "numbers above 0, with commas") from error


def label(job: Job) -> str:
    """A job's line in the list of results; it ends with the job's id."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
    given = job.settings.get("models") or [job.settings.get(key) for key in ("model", "tuned") if job.settings.get(key)]
    names = [str(name).rsplit("/", 1)[-1].removesuffix(".safetensors") for name in given]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{when} · {WORDS[job.kind]} · {', '.join(names[:2]) or 'what is loaded'}{more} · {job.id}"


def latest(workspace: Workspace, wanted: str = "") -> list[Any]:
    """The list of results, newest first, and the place of the wanted one, or of the newest."""
    lines = [label(job) for job in workspace.jobs.list() if job.kind in WORDS]
    line = next((line for line in lines if search_runs.job_id(line) == wanted), lines[0] if lines else None)
    return [compat.change(choices=lines, value=line), _view(line)]


def _view(line: str | None) -> str:
    return html.job_view(search_runs.job_id(line), "probe", "Waiting…") if line else html.note(NOTHING, "placeholder")
