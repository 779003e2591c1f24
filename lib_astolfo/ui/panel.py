"""The panel in txt2img and img2img: how the picture is sampled, as one ``Override``.

It stands inside the WebUI's own page, so it looks as that does. A WebUI builds it about six times per start (the page,
its API), and more than once at a time, so building it asks nothing of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lib_astolfo.diffusion.sampling import PREDICTIONS
from lib_astolfo.diffusion.uncond import MODES
from lib_astolfo.errors import AstolfoError, BadInput
from lib_astolfo.hosts.webui.override import NAMES, PRESETS, Override, from_infotext

from . import compat, html
from .form import Form

AS_MODEL, AS_CHECKPOINT, HOST = "as the model says", "as the checkpoint says", "host"
SHOWN: dict[str, dict[str, str]] = {
    "prediction": {"": AS_MODEL, **{name: name for name in PREDICTIONS}, "mixed": "mixed (experimental)"},
    "uncond": {"": AS_CHECKPOINT, **{name: name for name in MODES}},
    "like": {"": HOST, "a1111": "A1111", "comfy": "ComfyUI", "diffusers": "diffusers"},
}
"""What the lists show for a value of ``Override``, which reads these words too."""
TERMINAL = (AS_MODEL, "v", "x0", SHOWN["prediction"]["mixed"])
UNCOND = tuple(name for name in MODES if name != "host")
APPLIES = {
    "shift": ("prediction", ("rf",)),
    "ztsnr": ("prediction", TERMINAL),
    "mixed_weight": ("prediction", (SHOWN["prediction"]["mixed"],)),
    "use_euler": ("prediction", (AS_MODEL, "rf")),
    "uncond_weight": ("uncond", ("average",)),
    "uncond_text": ("uncond", ("text",)),
    "uncond_start": ("uncond", UNCOND),
    "uncond_end": ("uncond", UNCOND),
    "only_empty": ("uncond", UNCOND),
}
PRESET = ("uncond", "uncond_weight", "uncond_text", "uncond_start", "uncond_end", "only_empty", "like")
"""What a preset sets; how the network is read belongs to the model, not to a host."""
CHECKED = tuple(name for name in NAMES if name not in ("enabled", "cfg_rescale", "like", "use_euler"))
"""Fields whose values can be refused."""
Check = Callable[[dict[str, Any]], str]


@dataclass(frozen=True)
class Panel:
    """``inputs``: the components in the order of ``NAMES``. ``infotext_fields``: (component, function of the infotext's
    keys), as a WebUI's Script has them; ``paste_field_names``: what goes along when a picture is sent to another tab.
    """

    inputs: list[Any]
    infotext_fields: list[tuple[Any, Pasted]]
    paste_field_names: list[Pasted]


@dataclass(frozen=True)
class Pasted:
    """The value of one field for an infotext; None leaves the field as it is. ``notes``: what cannot be read in it.

    Equal ones of txt2img and img2img stand for each other (modules/infotext_utils.py:167-174).
    """

    name: str

    def __call__(self, found: Mapping[str, Any]) -> Any:
        try:
            override = from_infotext(found)
        except BadInput as error:  # the panel opens, so that its note is seen
            wrong = html.problem(f"{error}; the fields stay as they were")
            return {"notes": wrong, "enabled": True}.get(self.name)
        if self.name == "notes":
            return ""
        return shown(override)[self.name] if self.name == "enabled" or override.enabled else None


@dataclass(frozen=True)
class Answers:
    """What the panel asks of the host when a person asks it. Each returns a line of words and may raise AstolfoError.

    ``said()``: what the loaded checkpoint says, and from where. ``remember(values)`` keeps the panel's values (as
    ``Override.to_dict``) for this checkpoint, ``forget()`` drops them. ``check(values)``: why these would be refused
    with the loaded checkpoint, or "".
    """

    said: Callable[[], str]
    remember: Callable[[dict[str, Any]], str]
    forget: Callable[[], str]
    check: Check | None = None


def build(accordion: Callable[..., Any], tab: str, answers: Answers) -> Panel:
    """Make the panel where the WebUI asks for it.

    ``accordion`` is the WebUI's InputAccordion (modules/ui_components.py), a check box that is an accordion too;
    ``tab`` is txt2img or img2img.
    """
    form = Form(f"astolfo_{tab}", APPLIES)
    enabled = accordion(False, label="Astolfo", elem_id=form.element("enabled"))
    form.fields["enabled"] = enabled
    with enabled, gr.Column(elem_classes=["astolfo", "astolfo-panel"]):
        buttons = _top(form)
        _prediction_fields(form)
        _uncond_fields(form)
        form.text("merge", "Merge", "A recipe for these pictures, as one line of YAML; empty: the weights as they are")
        notes = gr.HTML("", elem_id=form.element("notes"), elem_classes=["astolfo-notes"])
    inputs = [form.fields[name] for name in NAMES]
    _connect_fields(form, buttons["refresh"])
    _connect_presets(form, buttons)
    _connect_notes(form, inputs, notes, buttons["refresh"], answers.check)
    _connect_memory(form, inputs, buttons, answers)
    pasted = [Pasted(name) for name in NAMES]
    return Panel(inputs, [*zip(inputs, pasted, strict=True), (notes, Pasted("notes"))], pasted)


def _top(form: Form) -> dict[str, Any]:
    """What the checkpoint says, the memory and the presets; their components by name."""
    found = {"said": gr.HTML("", elem_id=form.element("said"), elem_classes=["astolfo-said"])}
    with gr.Row(elem_classes=["astolfo-line"]):
        for name, words in (("refresh", "Refresh"), ("remember", "Remember for this checkpoint"), ("forget", "Forget")):
            found[name] = _button(form, name, words)
    with gr.Row(elem_classes=["astolfo-line"]):
        for name in PRESETS:
            found[name] = _button(form, name.replace(" ", "_").lower(), name[0].upper() + name[1:])
    return found


def _button(form: Form, name: str, words: str) -> Any:
    return gr.Button(words, size="sm", min_width=60, elem_id=form.element(name))


def _list(form: Form, name: str, label: str, help: str) -> None:
    words = list(SHOWN[name].values())
    form.add(name, gr.Dropdown, label, help, choices=words, value=words[0], min_width=200)


def _prediction_fields(form: Form) -> None:
    with gr.Row():
        _list(form, "prediction", "Prediction", "What the network's output is read as")
        form.slider("cfg_rescale", "CFG rescale", "0 is none; 0.7 is usual for ZTSNR", (0, 1, 0.05), value=0.0)
    form.slider(
        "shift", "Shift", "Of the rf timesteps; 1 is none, 3 is SD3's, 0 the model's own", (0, 12, 0.1), value=0.0
    )
    form.slider("mixed_weight", "Weight of v", "0 reads it as eps, 1 as v", (0, 1, 0.05), value=0.5)
    with gr.Row():
        form.add("ztsnr", gr.Checkbox, "ZTSNR: start from pure noise", value=False, min_width=200)
        form.add("use_euler", gr.Checkbox, "rf with Euler where the sampler cannot", value=False, min_width=200)


def _uncond_fields(form: Form) -> None:
    with gr.Row():
        _list(form, "uncond", "Uncond", "What guidance leads away from")
        _list(form, "like", "Timesteps like", "And the first noise; host: as this WebUI has them")
    form.slider("uncond_weight", "Weight of null", "0 is zero, 1 is null", (0, 1, 0.05), value=1.0)
    form.text("uncond_text", "Text of the uncond", "Encoded as a positive prompt", value="")
    with gr.Row():
        wide = {"min_width": 200}
        form.slider("uncond_start", "Uncond from", "Share of the schedule; 0 is noise", (0, 1, 0.05), value=0.0, **wide)
        form.slider("uncond_end", "Uncond to", "1 is the end; outside it is host", (0, 1, 0.05), value=1.0, **wide)
    form.add("only_empty", gr.Checkbox, "Only where the negative prompt is empty", value=False)


def shown(override: Override) -> dict[str, Any]:
    """What the fields show for these values."""
    return {name: SHOWN.get(name, {}).get(value, value) for name, value in override.to_dict().items()}


def read(values: Sequence[Any]) -> Override:
    """The fields' values, in the order of ``NAMES``, as a generation with the panel on takes them. Errors: BadInput."""
    given = dict(zip(NAMES, values, strict=True))
    return Override.from_dict({**given, "enabled": True})


def _connect_fields(form: Form, refresh: Any) -> None:
    """What does not apply is hidden and at its default, so that a generation gets what is seen.

    Asked on opening too: a WebUI reads its own defaults (ui-config.json) after the building.
    """
    lists, names, plain = ("prediction", "uncond"), list(APPLIES), shown(Override())

    def show(*values: str) -> list[Any]:
        found = dict(zip(lists, values, strict=True))
        return [
            compat.change(visible=True) if form.shown(name, found) else compat.change(visible=False, value=plain[name])
            for name in names
        ]

    listed = [form.fields[name] for name in lists]
    for event in (*(one.change for one in listed), form.fields["enabled"].change, refresh.click):
        compat.on(event, show, listed, [form.fields[name] for name in names])


def _connect_presets(form: Form, buttons: Mapping[str, Any]) -> None:
    outputs = [form.fields[name] for name in PRESET]
    for name, preset in PRESETS.items():
        values = [shown(preset)[field] for field in PRESET]
        compat.on(buttons[name].click, lambda values=values: values, [], outputs)


def _connect_notes(form: Form, inputs: list[Any], notes: Any, refresh: Any, check: Check | None) -> None:
    """What would be refused is told before anything is drawn."""

    def note(*values: Any) -> str:
        return problem_of(values, check)

    for name in CHECKED:
        compat.on(form.fields[name].change, note, inputs, [notes])
    compat.on(refresh.click, note, inputs, [notes])


def problem_of(values: Sequence[Any], check: Check | None = None) -> str:
    """Why these values would be refused, in HTML, or ""."""
    try:
        override = read(values)
        words = check(override.to_dict()) if check is not None else ""
    except AstolfoError as error:
        words = str(error)
    return html.problem(words) if words else ""


def _connect_memory(form: Form, inputs: list[Any], buttons: Mapping[str, Any], answers: Answers) -> None:
    def told(act: Callable[[], str]) -> str:
        try:
            return html.note(act(), "about")
        except (AstolfoError, OSError) as error:
            return html.problem(str(error))

    def remember(*values: Any) -> str:
        return told(lambda: answers.remember(read(values).to_dict()))

    line = [buttons["said"]]
    for event in (form.fields["enabled"].change, buttons["refresh"].click):
        compat.on(event, lambda: told(answers.said), [], line)
    compat.on(buttons["remember"].click, remember, inputs, line)
    compat.on(buttons["forget"].click, lambda: told(answers.forget), [], line)
