"""What a person decides about checkpoints: the yaml beside them, and what is remembered for their bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.diffusion.sampling import PREDICTIONS, Sampling
from lib_astolfo.diffusion.uncond import MODES, Uncond
from lib_astolfo.errors import AstolfoError, BadInput

from . import compat, html
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

AS_FILE = "as the file says"
UNCOND = MODES[1:]
APPLIES = {
    "shift": ("prediction", ("rf",)),
    "ztsnr": ("prediction", ("v", "x0", "mixed")),
    "mixed_weight": ("prediction", ("mixed",)),
    "uncond_weight": ("uncond", ("average",)),
    "uncond_text": ("uncond", ("text",)),
    "uncond_start": ("uncond", UNCOND),
    "uncond_end": ("uncond", UNCOND),
}
HEADINGS = ("Checkpoint", "Hash", "Prediction", "Uncond", "CFG rescale")
NOTHING = "Nothing is remembered yet."


@dataclass(frozen=True)
class Place:
    """``known``: where the table of what is remembered stands; ``fill`` writes it anew."""

    known: Any
    fill: Callable[[], str]


def fields(workspace: Workspace, chosen: Any) -> Place:
    """The fields and buttons; ``chosen`` is the list of checkpoints that they are for."""
    form = Form("astolfo_decide", APPLIES, {"zero_terminal_snr": "ztsnr", "models": "chosen"})
    form.fields["chosen"] = chosen
    form.labels["chosen"] = "Checkpoints"
    _prediction_fields(form)
    _uncond_fields(form)
    form.slider("cfg_rescale", "CFG rescale", "Only remembered; 0 is none", (0, 1, 0.05), value=0)
    words = "Their other settings are kept where they fit"
    overwrite = form.add("overwrite", gr.Checkbox, "Replace the yamls that are there", words, value=False)
    overwrite.visible = False  # until there are some
    with gr.Row(elem_classes=["astolfo-line"]):
        buttons = [
            gr.Button(words, size="sm", elem_id=form.element(name), min_width=100)
            for name, words in (("yaml", "Write yaml"), ("remember", "Remember"), ("forget", "Forget"))
        ]
    errors = form.errors_line()
    report = gr.HTML("", elem_id=form.element("report"))
    known = gr.HTML("", elem_id=form.element("known"))
    form.connect()
    acts = (write_yamls, remember, forget)
    for button, act in zip(buttons, acts, strict=True):
        compat.on(
            button.click,
            form.guarded(_acting(workspace, act), 3),
            form.inputs,
            [report, overwrite, known, errors],
            quiet=False,
        )
    return Place(known, lambda: table(workspace))


def _acting(workspace: Workspace, act: Callable[[Workspace, Mapping[str, Any]], list[Any]]) -> Callable[..., list[Any]]:
    return lambda values: [*act(workspace, values), table(workspace)]


def _prediction_fields(form: Form) -> None:
    form.radio("prediction", "Prediction", "What the network's output is", (AS_FILE, *PREDICTIONS), AS_FILE)
    form.slider("shift", "Shift", "Of the rf timesteps; 1 is none", (1, 12, 0.1), value=1)
    form.add("ztsnr", gr.Checkbox, "Zero terminal SNR", "Start from pure noise", value=False)
    form.slider("mixed_weight", "Weight of v", "Experimental; 0 is eps, 1 is v", (0, 1, 0.05), value=0.5)


def _uncond_fields(form: Form) -> None:
    form.radio("uncond", "Uncond", "What guidance leads away from", (AS_FILE, *MODES), AS_FILE)
    form.slider("uncond_weight", "Weight of null", "0 is zero, 1 is null", (0, 1, 0.05), value=0.7)
    form.text("uncond_text", "Text of the uncond", "Encoded as a positive prompt")
    with gr.Row():
        form.slider("uncond_start", "From", "Share of the schedule; 0 is pure noise", (0, 1, 0.05), value=0)
        form.slider("uncond_end", "To", "1 is the last step; outside it is host", (0, 1, 0.05), value=1)


def sampling_of(values: Mapping[str, Any]) -> Sampling | None:
    """How the network is read, None for what the file says. Errors: BadInput."""
    if values["prediction"] == AS_FILE:
        return None
    given = {"zero_terminal_snr": values.get("ztsnr"), "shift": values.get("shift")}
    given["mixed_weight"] = values.get("mixed_weight")
    plain = {name: value for name, value in given.items() if value is not None}
    return Sampling(values["prediction"], **plain)


def uncond_of(values: Mapping[str, Any]) -> Uncond | None:
    """What stands for no prompt, None for what the file says. Errors: BadInput."""
    if values["uncond"] == AS_FILE:
        return None
    names = ("weight", "text", "start", "end")
    given = {name: values.get(f"uncond_{name}") for name in names}
    return Uncond(values["uncond"], **{name: value for name, value in given.items() if value is not None})


def chosen_of(values: Mapping[str, Any]) -> list[str]:
    """The checkpoints that are chosen. Errors: BadInput for none."""
    names = values.get("chosen") or []
    if not names:
        raise BadInput("models", "none", "at least one checkpoint")
    return list(names)


def each(names: Sequence[str], act: Callable[[str], str]) -> str:
    """A line per checkpoint: what was done, or why not. One that fails keeps none of the others back."""
    lines = []
    for name in names:
        try:
            lines.append(html.note(act(name), "about"))
        except (AstolfoError, OSError) as error:
            lines.append(html.problem(f"{name}: {error}"))
    return "".join(lines)


def write_yamls(workspace: Workspace, values: Mapping[str, Any]) -> list[Any]:
    """Write them, after asking where there are some already. Errors: BadInput; then nothing was written."""
    from lib_astolfo.checkpoints.sidecar import path_for
    from lib_astolfo.commands import sidecar

    names, sampling, uncond = chosen_of(values), sampling_of(values), uncond_of(values)
    paths = [path_for(workspace.resolve(name)) for name in names]
    there = [path.name for path in paths if path.exists()]
    if there and not values.get("overwrite"):
        words = f"There already: {', '.join(there)}. Nothing was written; tick “Replace the yamls” and press again."
        return [html.problem(words), compat.change(visible=True)]

    def write(name: str) -> str:
        settings = sidecar.SidecarSettings(
            model=name,
            sampling=sampling.to_dict() if sampling else None,
            uncond=uncond.to_dict() if uncond else "",
            overwrite=bool(there),
        )
        made = sidecar.run(settings, workspace)
        said = Sampling.from_dict(made["sampling"]).describe()
        return ". ".join([f"Written: {path_for(name)}, {said}", *made["notes"]])

    return [each(names, write), compat.change(value=False, visible=False)]


def remember(workspace: Workspace, values: Mapping[str, Any]) -> list[Any]:
    """Remember it for each of the checkpoints; a file of unknown hash is read once. Errors: BadInput."""
    from lib_astolfo.commands import memory

    sampling, uncond, rescale = sampling_of(values), uncond_of(values), float(values["cfg_rescale"])
    if sampling is None and uncond is None and not rescale:
        raise BadInput("prediction", "nothing that differs from the file", "a prediction, an uncond or a CFG rescale")

    def keep(name: str) -> str:
        made = memory.remember(workspace, name, sampling, uncond, rescale)
        return f"Remembered for {name} [{made['hash']}]"

    return [each(chosen_of(values), keep), compat.change()]


def forget(workspace: Workspace, values: Mapping[str, Any]) -> list[Any]:
    """Remember nothing for them. Errors: BadInput."""
    from lib_astolfo.commands import memory

    def drop(name: str) -> str:
        made = memory.forget(workspace, name)
        return f"Forgotten: {name}" if made["forgotten"] else f"Nothing was remembered for {name}"

    return [each(chosen_of(values), drop), compat.change()]


def table(workspace: Workspace) -> str:
    """All that is remembered. A damaged memory is told in its place."""
    from lib_astolfo.commands import memory

    try:
        found = memory.listing(workspace)
    except AstolfoError as error:
        return html.problem(str(error))
    rows = []
    for entry in found:
        sampling = Sampling.from_dict(entry["sampling"]).describe() if entry["sampling"] else AS_FILE
        uncond = Uncond.from_dict(entry["uncond"]).describe() if entry["uncond"] else AS_FILE
        rescale = f"{entry['cfg_rescale']:g}" if entry["cfg_rescale"] else "none"
        rows.append((entry["name"], entry["hash"], sampling, uncond, rescale))
    return html.table(HEADINGS, rows, "What is remembered") if rows else html.note(NOTHING, "about")
