"""The tab as a page of its own, which a host may also render inside another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from . import compat, lab, merge, script, search
from .server import style

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

STRIP = '<div class="astolfo-strip" data-state="idle"></div>'


def build(workspace: Workspace) -> gr.Blocks:
    """The page: the strip with the running job above the sub-tabs. Call it outside of any other ``Blocks``."""
    with compat.blocks("Astolfo", style()) as page:
        with gr.Column(elem_id="astolfo_page", elem_classes=["astolfo"]):
            gr.HTML(STRIP, elem_id="astolfo_strip")
            with gr.Tabs(elem_id="astolfo_tabs"):
                with gr.TabItem("Lab", elem_id="astolfo_tab_lab"):
                    lab.build(workspace)
                with gr.TabItem("Merge", elem_id="astolfo_tab_merge"):
                    merge.build(workspace)
                with gr.TabItem("Search", elem_id="astolfo_tab_search"):
                    fill_search = search.build(workspace)
        fill_search(page)
        compat.on(page.load, None, js=script.LOADER)
    return page
