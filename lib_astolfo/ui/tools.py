"""Closed accordions of the Models panel: compare the chosen checkpoints, mend one, carry over to it what a training
changed, LoRAs out of it and LoRA files, and its family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import choices, merge_more
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
        ("Carry an objective over", "astolfo_carry", _carry, "Show what it carries, or write it", carry),
        ("Extract a LoRA", "astolfo_extract", _extract, "Extract", extract),
        ("LoRA files", "astolfo_loras", _loras, "Go", loras),
        ("Family", "astolfo_family", _family, "Show where it comes from", family),
    ):
        form = Form(prefix, names={"blocks": "mask"})
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


def _carry(form: Form, workspace: Workspace) -> None:
    _checkpoint(form, workspace, "b", "Trained", "Its difference to the next is added to the chosen one")
    _checkpoint(form, workspace, "c", "What it was trained from", "Taken off the trained one")
    form.slider(
        "factor", "Factor", "Share of the difference; 0.1 to 0.55 is usual across models", (0, 1, 0.01), value=0.5
    )
    form.text("mask", "Blocks", "That are carried, with commas, as OUT02, OUT08; empty: all")
    _checkpoint(form, workspace, "base", "Base of the chosen one", "If known: whether the two ways cross")
    form.text("output", "File name", "Empty: only the figures and the recipe")
    form.add("overwrite", gr.Checkbox, "Overwrite", "If the file is there already", value=False)


def _loras(form: Form, workspace: Workspace) -> None:
    form.text("loras", "Files", "One a line; file: weight to add up", lines=2, max_lines=12)
    form.radio(
        "action", "", "Look into them, add them up, or cut one to another rank", ("info", "merge", "resize"), "info"
    )
    form.whole("rank", "Rank", "At most; 0: as it comes", 0)
    form.text("output", "File name", "In the folder of LoRAs")
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


def carry(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the arithmetic of objectives. Errors: BadInput naming the field."""
    for name in ("b", "c"):
        if not values[name]:
            raise BadInput(name, "nothing", "a checkpoint")
    mask = [part.strip() for part in (values["mask"] or "").split(",") if part.strip()]
    settings = {
        "models": [_one(values), values["b"], values["c"]],
        "factor": values["factor"],
        "mask": mask or None,
        **{name: values[name] or "" for name in ("base", "output")},
        "overwrite": values["overwrite"],
    }
    return workspace.submit("arithmetic", settings).id


def loras(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue work on LoRA files; the chosen checkpoint tells whose they are. Errors: BadInput naming the field."""
    lines = [line.strip() for line in (values["loras"] or "").splitlines() if line.strip()]
    weighed = [line if ":" in line else f"{line}: 1" for line in lines]
    settings: dict[str, Any] = {
        "action": values["action"],
        "loras": merge_more.lora_uses("\n".join(weighed)),
        "checkpoint": ([*(values["models"] or []), ""])[0],
        "rank": values["rank"] or None,
    }
    if values["action"] != "info":
        settings |= {"output": values["output"] or "", "overwrite": values["overwrite"]}
    return workspace.submit("lora", settings).id


def family(workspace: Workspace, values: Mapping[str, Any]) -> str:
    """Queue the picture of the models' family. Errors: BadInput."""
    return workspace.submit("genealogy", {"models": list(values["models"] or [])}).id


def _one(values: Mapping[str, Any]) -> str:
    chosen = list(values["models"] or [])
    if len(chosen) != 1:
        raise BadInput("models", ", ".join(chosen) or "none chosen", "one checkpoint in the list above")
    return str(chosen[0])
