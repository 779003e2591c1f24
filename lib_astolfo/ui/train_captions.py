"""The accordion that captions a folder by local taggers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import compat, script, train_runs
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

EXISTING = ("keep", "merge", "replace")


def build(workspace: Workspace) -> Callable[[Workspace, Sequence[Any]], None]:
    """Make it; the function that is returned connects it with the list of runs and the place beside it."""
    from lib_astolfo.commands import caption

    form = Form("astolfo_caption", names={"model": "passes", "threshold": "passes", "thresholds": "passes"})
    found = caption.taggers(workspace)
    there = f"here: {', '.join(found)}" if found else "none is here yet: a folder with model.onnx and selected_tags.csv"
    with gr.Accordion("Captions by a tagger", open=False, elem_id=form.element("panel")):
        form.text("folder", "Folder of pictures", "As in Data sets above; a .txt is written beside each")
        words = f"One a line, with its thresholds as 0.35, character 0.85; their tags are united. {there}"
        first = f"{found[0]}: 0.35, character 0.85" if found else ""
        form.text("passes", "Taggers", words, value=first, lines=2, max_lines=6)
        words = "keep: untouched; merge: new tags follow those that are there"
        form.radio("existing", "Captions that are there", words, EXISTING, "keep")
        form.text("front", "First tags", "Of every caption, with commas")
        form.text("blacklist", "Never written", "With commas; * stands for any letters")
        with gr.Row():
            form.add("escape", gr.Checkbox, "Escape brackets", "As the WebUIs need it", value=False)
            form.add("rating", gr.Checkbox, "Rating", "The likeliest is a tag", value=False)
        with gr.Row():
            write = gr.Button("Write captions", size="sm", elem_id=form.element("start"))
            show = gr.Button("Only show them", size="sm", elem_id=form.element("show"))
        errors = form.errors_line()

    def connect(workspace: Workspace, outputs: Sequence[Any]) -> None:
        for button, writes in ((write, True), (show, False)):
            run = form.guarded(train_runs.starting(workspace, _queueing(writes)), 2)
            compat.on(compat.on(button.click, run, form.inputs, [*outputs, errors]).then, None, js=script.WAKE)

    return connect


def _queueing(writes: bool) -> Callable[[Workspace, Mapping[str, Any]], str]:
    return lambda workspace, values: workspace.submit("caption", {**settings_of(values), "write": writes}).id


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the command ``caption``. Errors: BadInput naming the field."""
    lines = [line.strip() for line in (values["passes"] or "").splitlines() if line.strip()]
    return {
        "folder": values["folder"] or "",
        "passes": [{**_pass(line), "rating": bool(values["rating"])} for line in lines],
        "existing": values["existing"],
        "escape": bool(values["escape"]),
        **{name: _parts(values[name]) for name in ("front", "blacklist")},
    }


def _pass(line: str) -> dict[str, Any]:
    """A line as ``tagger: 0.35, character 0.85``; the thresholds may be left out."""
    match = re.fullmatch(r"(.*?)(?::\s*([0-9.]+)?((?:\s*,?\s*\w+\s+[0-9.]+)*)\s*)?", line)
    if match is None or not match[1].strip():
        raise BadInput("passes", repr(line), "a tagger: 0.35, character 0.85")
    try:
        named = {name: float(value) for name, value in re.findall(r"(\w+)\s+([0-9.]+)", match[3] or "")}
        found: dict[str, Any] = {"model": match[1].strip(), "thresholds": named}
        return {**found, "threshold": float(match[2])} if match[2] else found
    except ValueError:
        raise BadInput("passes", repr(line), "thresholds from 0 to 1") from None


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").replace("\n", ",").split(",") if part.strip()]
