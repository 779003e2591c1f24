"""The tab as a page of its own, which a host may also render inside another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from . import compat, html, lab, merge, models, script, search, train
from .server import style

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

NOT_SAVED = "do_not_save_to_config"


def build(workspace: Workspace) -> gr.Blocks:
    """The page: the strip with the running job above the sub-tabs. Call it outside of any other ``Blocks``."""
    with compat.blocks("Astolfo", style()) as page:
        with gr.Column(elem_id="astolfo_page", elem_classes=["astolfo"]):
            gr.HTML(strip(), elem_id="astolfo_strip")
            with gr.Tabs(elem_id="astolfo_tabs"):
                with gr.TabItem("Lab", elem_id="astolfo_tab_lab"):
                    lab.build(workspace)
                with gr.TabItem("Merge", elem_id="astolfo_tab_merge"):
                    merged = merge.build(workspace)
                with gr.TabItem("Search", elem_id="astolfo_tab_search"):
                    fill_search = search.build(workspace, merged)
                with gr.TabItem("Train", elem_id="astolfo_tab_train"):
                    fill_train = train.build(workspace)
                with gr.TabItem("Models", elem_id="astolfo_tab_models"):
                    fill_models = models.build(workspace)
        fill_search(page)
        fill_train(page)
        fill_models(page)
        compat.on(page.load, None, js=script.LOADER)
    return page


def inside(workspace: Workspace, key: str = "") -> gr.Blocks:
    """The tab inside a WebUI's page, with that page's looks; it loads our script and style by itself.

    The page's ui-config.json is told to leave it alone: it knows fields by their labels alone (modules/ui_loadsave.py,
    ``add_component``), and would give one "Seed" or "Batch" the value of another sub-tab's.

    ``key``: what the script asks with where the page is open and the API is not.
    """
    with gr.Blocks(analytics_enabled=False) as page, gr.Column(elem_id="astolfo_page", elem_classes=["astolfo"]):
        gr.HTML(strip(key), elem_id="astolfo_strip")
        with gr.Tabs(elem_id="astolfo_tabs"):
            with gr.TabItem("Lab", elem_id="astolfo_tab_lab"):
                lab.build(workspace)
            with gr.TabItem("Merge", elem_id="astolfo_tab_merge"):
                merged = merge.build(workspace)
            with gr.TabItem("Search", elem_id="astolfo_tab_search"):
                fill_search = search.build(workspace, merged)
            with gr.TabItem("Train", elem_id="astolfo_tab_train"):
                fill_train = train.build(workspace)
            with gr.TabItem("Models", elem_id="astolfo_tab_models"):
                fill_models = models.build(workspace)
        fill_search(page)
        fill_train(page)
        fill_models(page)
    for block in page.blocks.values():
        setattr(block, NOT_SAVED, True)
    return page


def strip(key: str = "") -> str:
    """The places of the running job and of the recipe in the weights, which the page's script fills."""
    live = '<p class="astolfo-note astolfo-live" hidden></p>'
    return f'<div class="astolfo-strip" data-state="idle" data-key="{html.text(key)}"></div>{live}'
