"""Beside a search: joining one of another machine, the exhaustion table, and where a winner goes from the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import AstolfoError, BadInput

from . import choices, compat, html, script, search_back, search_runs
from .form import Form
from .search_axes import items

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

MERGE_FIELDS = ("method", "a", "b", "c", "ratio", "blocks", "dtype", "options", "loras", "recipe")
MERGE_MORE = ("elements", "patterns", "adjust")


def build(workspace: Workspace) -> Callable[[list[Any]], None]:
    """Two closed accordions; the function that is returned connects them with the list of studies and its place."""
    made = [_join(workspace), _exhaust(workspace)]

    def connect(outputs: list[Any]) -> None:
        for form, button, errors, act in made:
            run = form.guarded(_starting(workspace, act), 2)
            compat.on(compat.on(button.click, run, form.inputs, [*outputs, errors]).then, None, js=script.WAKE)

    return connect


def _starting(workspace: Workspace, act: Any) -> Any:
    return lambda values: search_runs.latest(workspace, act(workspace, values))


def _join(workspace: Workspace) -> tuple[Form, Any, Any, Any]:
    form = Form("astolfo_join", names={"worker": "study"})
    with gr.Accordion("Join a study as a worker", open=False, elem_id=form.element("panel")):
        gr.HTML(html.note("Draws cells of a study that another machine or window began; the report is made there."))
        form.text("study", "Study URL", "As it was begun with: postgresql://…, mysql://…")
        form.text("name", "Name of the study", "As it was begun with", value="")
        button = gr.Button("Join", size="sm", elem_id=form.element("start"))
        errors = form.errors_line()
    return form, button, errors, join


def join(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue a worker; returns the job's id. Errors: BadInput naming the field."""
    study, name = ((values[key] or "").strip() for key in ("study", "name"))
    if not name:
        raise BadInput("name", "nothing", "the name that the study was begun with")
    return workspace.submit("search", {"study": study, "name": name, "worker": True}).id


def _exhaust(workspace: Workspace) -> tuple[Form, Any, Any, Any]:
    form, demo = Form("astolfo_exhaust", names={"unconds": "unconds"}), choices.is_demo(workspace)
    with gr.Accordion("Exhaustion table", open=False, elem_id=form.element("panel")):
        words = "Several models under every uncond and prediction, with the prediction gap, pictures and verdicts"
        gr.HTML(html.note(words))
        found = choices.names(workspace)
        start = list(choices.DIGITS) if demo else []
        many = {"choices": found, "value": start, "multiselect": True}
        form.add("models", gr.Dropdown, "Models", "One or several; type to search the list", **many)
        form.text("unconds", "Unconds", "Commas between them, or one a line", value="zero, null, comma", max_lines=4)
        words = "auto is what the model says; commas between them"
        form.text("predictions", "Predictions", words, value="auto, eps, v, v ztsnr", max_lines=4)
        prompts = "red seven\ngreen two" if demo else ""
        form.text("prompts", "Prompts", "One a line", lines=2, max_lines=8, value=prompts)
        with gr.Row():
            form.whole("pictures", "Pictures a cell", "Same seeds in all", 4)
            form.whole("steps", "Steps", "Of sampling", 8 if demo else 20)
            form.add("cfg", gr.Number, "CFG scale", "Of all cells", value=3.0 if demo else 4.0, min_width=120)
        words = "A folder of pictures with captions, for the prediction gap; empty: the digits' own"
        form.text("probe_pictures", "Pictures of the probe", words)
        button = gr.Button("Make the table", size="sm", elem_id=form.element("start"))
        errors = form.errors_line()
    return form, button, errors, exhaust


def exhaust(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the table; returns the job's id. Errors: BadInput naming the field."""
    given: dict[str, Any] = {name: _list(name[:-1], values[name]) for name in ("unconds", "predictions")}
    given["prompts"] = [line.strip() for line in (values["prompts"] or "").splitlines() if line.strip()]
    given |= {name: values[name] for name in ("pictures", "steps", "cfg")}
    given["probe_pictures"] = (values["probe_pictures"] or "").strip()
    return workspace.submit("exhaust", {"models": values["models"] or [], **given}).id


def _list(name: str, text: str | None) -> list[str]:
    found = items(name, text)
    return [found] if isinstance(found, str) else found


def connect(form: Form, merge: Form, workspace: Workspace, places: tuple[Any, Any], hidden: Mapping[str, Any]) -> None:
    """The hidden buttons that the result's own ones press: its settings into the fields, its winner into the Merge
    panel. ``places``: the list of studies, and the panel's line of errors."""
    past, errors = places

    def again(line: str) -> list[Any]:
        try:
            job = search_runs.chosen(workspace, line)
            found = search_back.fields_of(job.kind, job.settings, _usual())
            return [*search_back.updates(form, workspace, found), ""]
        except AstolfoError as error:
            return [*[compat.change() for _ in form.fields], form.problem(error)]

    filled = compat.on(hidden["again"].click, again, [past], [*form.inputs, errors])
    compat.on(filled.then, None, js=script.FILLED)
    names = [name for name in (*MERGE_FIELDS, *MERGE_MORE) if name in merge.fields]

    def to_merge(line: str) -> list[Any]:
        try:
            recipe = search_runs.winner(workspace, line)["recipe"]
            found = search_back.merge_fields(recipe, choices.names(workspace))
        except AstolfoError as error:
            return [*[compat.change() for _ in names], form.problem(error)]
        return [*[compat.change(value=found[name]) if name in found else compat.change() for name in names], ""]

    sent = compat.on(hidden["to_merge"].click, to_merge, [past], [*[merge.fields[name] for name in names], errors])
    compat.on(sent.then, None, js=script.TO_MERGE)


def _usual() -> dict[str, Any]:
    """All settings of a search that says nothing."""
    from lib_astolfo.commands import settings
    from lib_astolfo.commands.registry import COMMANDS

    return settings.to_dict(COMMANDS["search"].settings())
