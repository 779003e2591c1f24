"""Closed accordions of the Models panel: compare the chosen checkpoints, mend one, extract a LoRA, show the family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import choices
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

Act = Callable[["Workspace", Mapping[str, Any]], str]


@dataclass(frozen=True)
class Tool:
    """A button, the fields it reads, the line for its errors, and what it queues: returns the job's id."""

    button: Any
    form: Form
    errors: Any
    act: Act


def fields(workspace: Workspace, chosen: Any) -> list[Tool]:
    """The accordions; ``chosen`` is the panel's list of checkpoints, which all of them read."""
    tools = []
    for title, prefix, build, words, act in (
        ("Compare", "astolfo_compare", _compare, "Show differences", compare),
        ("Mend", "astolfo_mend", _mend, "Write a mended copy", mend),
        ("Extract a LoRA", "astolfo_extract", _extract, "Extract", extract),
        ("Family", "astolfo_family", _family, "Show where it comes from", family),
    ):
        form = Form(prefix)
        form.fields["models"], form.labels["models"] = chosen, "Checkpoints"
        with gr.Accordion(title, open=False, elem_id=f"{prefix}_panel"):
            build(form, workspace)
            button = gr.Button(words, elem_id=form.element("start"))
            tools.append(Tool(button, form, form.errors_line(), act))
    return tools


def _checkpoint(form: Form, workspace: Workspace, name: str, label: str, help: str) -> None:
    form.add(name, gr.Dropdown, label, help, choices=["", *choices.names(workspace)], value="")


def _compare(form: Form, workspace: Workspace) -> None:
    words = "What they were trained from, if known: then also which of them went the same way"
    _checkpoint(form, workspace, "base", "Base", words)


def _mend(form: Form, workspace: Workspace) -> None:
    from lib_astolfo.checkpoints.fixes import FIXES

    words = "None: only what is chosen below. Examine tells what each file needs"
    form.add(
        "fix",
        gr.Dropdown,
        "Fixes",
        words,
        choices=["all", *(name for name in FIXES if name != "parts")],
        value=[],
        multiselect=True,
    )
    form.radio("dtype", "Data type of all weights", "keep: as they are", ("keep", "fp16", "bf16", "fp32"), "keep")
    _checkpoint(form, workspace, "vae", "VAE from", "Empty: its own")
    _checkpoint(form, workspace, "text_encoder", "Text encoders from", "Empty: its own")
    _checkpoint(form, workspace, "values_from", "Values that are not finite from", "Empty: they stay")
    form.text("output", "File name", "In the first models folder")
    form.add("overwrite", gr.Checkbox, "Overwrite", "If the file is there already", value=False)


def _extract(form: Form, workspace: Workspace) -> None:
    _checkpoint(form, workspace, "base", "Base", "What the chosen one was trained from")
    with gr.Row():
        form.radio("kind", "Kind", "LoKr is smaller for wide changes", ("lora", "lokr"), "lora")
        form.whole("rank", "Rank", "At most", 32)
    share = "Share of the change's energy that is kept; 1: the rank alone decides"
    form.slider("energy", "Energy", share, (0.5, 1, 0.01), value=1)
    form.add("text_encoders", gr.Checkbox, "Text encoders too", "", value=True)
    form.text("output", "File name", "In the folder of LoRAs; empty: made of the models' names")
    form.add("overwrite", gr.Checkbox, "Overwrite", "If the file is there already", value=False)


def _family(form: Form, workspace: Workspace) -> None:
    gr.Markdown("The merges in the file's header, and in those of the files it names, as far as they are here.")


def compare(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the comparison. Errors: BadInput."""
    return workspace.submit("differences", {"models": list(values["models"] or []), "base": values["base"] or ""}).id


def mend(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the mended copy. Errors: BadInput naming the field."""
    words = ("vae", "text_encoder", "values_from", "output")
    fix = list(values["fix"] or [])
    settings: dict[str, Any] = {
        "model": _one(values),
        "fix": "all" if "all" in fix else fix or None,
        "dtype": "" if values["dtype"] == "keep" else values["dtype"],
        "overwrite": values["overwrite"],
        **{name: values[name] or "" for name in words},
    }
    if not any(settings[name] for name in ("fix", "dtype", "vae", "text_encoder", "values_from")):
        raise BadInput("fix", "nothing to mend", "a fix, a data type, or a part from another file")
    return workspace.submit("doctor", settings).id


def extract(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the extraction. Errors: BadInput naming the field."""
    names = ("base", "kind", "rank", "energy", "text_encoders", "output", "overwrite")
    settings = {name: values[name] for name in names if values[name] is not None}
    if settings.get("energy", 1.0) < 1.0 and not settings.get("rank"):
        settings["rank"] = None
    return workspace.submit("extract", {"tuned": _one(values), **settings}).id


def family(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the picture of the models' family. Errors: BadInput."""
    return workspace.submit("genealogy", {"models": list(values["models"] or [])}).id


def _one(values: Mapping[str, Any]) -> str:
    chosen = list(values["models"] or [])
    if len(chosen) != 1:
        raise BadInput("models", ", ".join(chosen) or "none chosen", "one checkpoint in the list above")
    return str(chosen[0])
