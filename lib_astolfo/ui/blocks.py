"""Block ratios: bars to drag, and the same numbers in a field to paste into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from . import compat, html, script
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

HELP = "Numbers from BASE to the last OUT, with commas, as other mergers write them; empty: the one ratio everywhere"


def block_names(workspace: Workspace, model: str | None) -> list[str]:
    """The blocks of a checkpoint's layout in merge-block order; nothing if it cannot be used."""
    from lib_astolfo.checkpoints.blocks import BLOCKS

    for entry in workspace.host.checkpoints():
        if entry.name == model:
            return list(BLOCKS.get(entry.family, ()))
    return []


def bars(form: Form, names: list[str]) -> str:
    """The place of the bars, which the page's script draws."""
    if not names:
        return html.note("Choose models to see their blocks", "placeholder")
    return (
        f'<div class="astolfo-bars" data-blocks="{html.attribute(names)}" data-target="{form.element("blocks")}" '
        f'data-ratio="{form.element("ratio")}"></div>'
    )


def fields(form: Form, workspace: Workspace, model: Any) -> Any:
    """A closed accordion with bars and numbers, in step with each other; ``model`` is the field of model A."""
    with gr.Accordion("Block ratios", open=False, elem_id=form.element("blocks_panel")):
        shown = gr.HTML(bars(form, block_names(workspace, model.value)))
        field = form.text("blocks", "Ratios of the blocks", HELP, max_lines=3)
        clear = gr.Button("One ratio for all blocks", size="sm")
    fresh = compat.on(model.change, lambda name: bars(form, block_names(workspace, name)), [model], [shown])
    for event in (fresh.then, field.change, form.fields["ratio"].change):
        compat.on(event, None, js=script.BARS)
    compat.on(clear.click, lambda: "", [], [field])
    return field


def read(text: str | None, where: str = "blocks") -> dict[str, float] | None:
    """The ratios of a field's text, or None for the one ratio. Errors: BadInput."""
    from lib_astolfo.merging.recipe import read_blocks

    return read_blocks(text, where) if text and text.strip() else None
