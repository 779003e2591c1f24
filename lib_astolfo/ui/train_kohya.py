"""The accordion that reads kohya's command lines and toml files into the fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import compat, html
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

Update = Callable[[Mapping[str, Any]], list[Any]]
TITLES = {
    "left": "Not carried over",
    "inert": "Did nothing there either",
    "differs": "Carried over, with a difference",
    "carried": "Carried over",
}


def build(train: Form, workspace: Workspace) -> Callable[[Update, Sequence[Any]], None]:
    """Make it; the function that is returned connects it with the fields it fills."""
    form = Form("astolfo_kohya", names={"files": "text", "command": "text", "toml": "text"})
    with gr.Accordion("Import from kohya's sd-scripts", open=False, elem_id=form.element("panel")):
        words = "A command line, or the toml of --config_file; paste, and read it into the fields"
        form.text("text", "Command line or toml", words, lines=4, max_lines=20)
        form.text("more", "What belongs to it", "As the toml of --dataset_config", lines=2, max_lines=20)
        button = gr.Button("Read into the fields", size="sm", elem_id=form.element("start"))
        errors = form.errors_line()
        told = gr.HTML("", elem_id=form.element("result"))

    def connect(update: Update, fields: Sequence[Any]) -> None:
        def run(values: Mapping[str, Any]) -> list[Any]:
            found = read(values)
            return [*update(found["values"]), words_of(found)]

        compat.on(button.click, form.guarded(run, len(fields) + 1), form.inputs, [*fields, told, errors])

    return connect


def read(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the texts say. Errors: BadInput."""
    from lib_astolfo.commands import kohya

    texts = [values[name] for name in ("text", "more") if (values[name] or "").strip()]
    if not texts:
        raise BadInput("text", "nothing", "a command line, or toml")
    return kohya.read(texts)


def words_of(found: Mapping[str, Any]) -> str:
    """What became of every option, in HTML."""
    guess = " (a guess: no script is named)" if found["guessed"] else ""
    parts = [html.note(f"Read as options of {found['program']}.py{guess}", "headline")]
    for kind, title in TITLES.items():
        rows = [(f"{one['option']} {one['value']}".strip(), one["words"]) for one in found[kind]]
        if rows:
            table = html.table(("Option", "What became of it"), rows)
            shown = " open" if kind in ("left", "inert") else ""
            parts.append(f"<details{shown}><summary>{html.text(title)}: {len(rows)}</summary>{table}</details>")
    parts += [html.note(note) for note in found["notes"]]
    return f'<div class="astolfo-told">{"".join(parts)}</div>'
