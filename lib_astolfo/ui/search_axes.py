"""The four axes of the Search panel: what each is, how its values are written, and what they read as."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import choices, compat, html
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

ROWS = (1, 2, 3, 4)
NONE = "none"
FIRST = ("ratio", "uncond", "", "")  # the axes when the page is opened
MANY = 6  # values that are told before "…"
LABELS = {
    "ratio": "Merge ratio",
    "blocks": "Block ratios",
    "model_a": "Model A",
    "model_b": "Model B",
    "model_c": "Model C",
    "snapshot": "Snapshot (epoch)",
    "lora": "LoRA",
    "lora_weight": "LoRA weight",
    "cfg": "CFG scale",
    "cfg_rescale": "CFG rescale",
    "uncond": "Uncond",
    "uncond_weight": "Uncond weight",
    "uncond_range": "Uncond range",
    "prediction": "Prediction",
    "shift": "Shift",
    "ztsnr": "ZTSNR",
    "sampler": "Sampler",
    "schedule": "Scheduler",
    "steps": "Steps",
    "seed": "Seed",
    "prompt": "Prompt",
}
START = {
    "ratio": "0-1 [5]",
    "lora_weight": "0-1 [5]",
    "cfg": "2, 4, 6",
    "cfg_rescale": "0, 0.35, 0.7",
    "uncond": "zero, null",
    "uncond_weight": "0-1 [5]",
    "uncond_range": "0-1, 0.2-1",
    "prediction": "eps, v",
    "shift": "1, 3",
    "ztsnr": "false, true",
    "steps": "20, 40",
    "seed": "1, 1001",
}
"""What stands in an axis's field when it is chosen."""
WRITTEN = {
    "blocks": "one a line: 20 or 26 numbers, a preset's name, or IN03-OUT05:0.7; 0-1 for a search over every block",
    "uncond": "commas between them: host, zero, null, comma, average 0.7; or one a line, as text: low quality",
    "uncond_range": "as 0-1, 0.2-0.9",
    "prediction": "as eps, v, v ztsnr, rf shift 3, mixed 0.5",
    "prompt": "one a line",
    "seed": "commas between them",
}
"""How the values of an axis are written, where commas and ranges do not say it."""
NUMBERS = "a list as 0.5, 0.75, or a range: 0-1 [11] is points, 0-1 (+0.1) is steps"
BARE = re.compile(r"^\s*(-?[\d.]+(?:e-?\d+)?)\s*-\s*(-?[\d.]+(?:e-?\d+)?)\s*(?:\[\s*(\d+)\s*\])?\s*$", re.I)
"""A range with or without its number of points."""
SEARCHED = ("additive", "tpe", "gp", "cmaes")  # strategies whose ranges have no points


def name_of(label: str | None) -> str:
    """The axis of a label, "" for none."""
    return next((name for name in names() if label_of(name) == label), "")


def label_of(name: str) -> str:
    """What an axis is called here; one that is new has its own name."""
    return LABELS.get(name, name.replace("_", " ").capitalize()) if name else NONE


def names() -> list[str]:
    from lib_astolfo.search.axes import AXES

    return list(AXES)


def listed(workspace: Workspace, name: str) -> list[str]:
    """The values that an axis can have, where there is a list of them."""
    if name.startswith("model_"):
        return choices.names(workspace)
    if name == "snapshot":
        return [*choices.snapshots(workspace), *choices.loras(workspace)]
    if name == "lora":
        return choices.loras(workspace)
    return {"sampler": choices.samplers, "schedule": lambda: choices.schedules()[1:]}.get(name, list)()


def is_listed(name: str) -> bool:
    """Whether its values are chosen from a list, and not written."""
    return name.startswith("model_") or name in ("snapshot", "lora", "sampler", "schedule")


def fields(form: Form) -> list[Any]:
    """Four rows of axis and values; returns the places of the words about them."""
    shown = [label_of(""), *(label_of(name) for name in names())]
    told = []
    for row, name in zip(ROWS, FIRST, strict=True):
        with gr.Row(elem_classes=["astolfo-axis-row"]):
            with gr.Column(scale=2, min_width=130):
                words = "What varies" if row == 1 else "And what else"
                form.add(f"axis{row}", gr.Dropdown, f"Axis {row}", words, choices=shown, value=label_of(name))
            with gr.Column(scale=3, min_width=170):
                wide = {"max_lines": 6, "value": START.get(name, ""), "visible": bool(name)}
                form.text(f"values{row}", f"Values {row}", "A list or a range", **wide)
                many = {"choices": [], "value": [], "multiselect": True, "visible": False}
                form.add(f"picks{row}", gr.Dropdown, f"Values {row}", "Choose several", **many)
        told.append(gr.HTML(about(name), elem_id=form.element(f"told{row}"), elem_classes=["astolfo-axis-told"]))
    return told


def connect(form: Form, workspace: Workspace, told: Sequence[Any]) -> None:
    """A row follows its axis: what can be chosen, what it starts with, how it is written."""
    for row, place in zip(ROWS, told, strict=True):
        axis, values, picks = (form.fields[f"{kind}{row}"] for kind in ("axis", "values", "picks"))

        def follow(label: str, strategy: str) -> list[Any]:
            name = name_of(label)
            return [*shown_as(workspace, name, start(name, strategy)), about(name)]

        compat.on(axis.input, follow, [axis, form.fields["strategy"]], [values, picks, place])
    every = [form.fields[f"{kind}{row}"] for row in ROWS for kind in ("axis", "values")]
    outputs = [form.fields[f"values{row}"] for row in ROWS]
    compat.on(form.fields["strategy"].input, following, [form.fields["strategy"], *every], outputs)


def shown_as(workspace: Workspace, name: str, value: Any) -> list[Any]:
    """Changes of the field of written values and of the list, for an axis with this value."""
    if is_listed(name):
        found = listed(workspace, name)
        given = [value] if isinstance(value, str) and value else list(value or [])
        wanted = [*found, *(one for one in given if one not in found)]
        return [compat.change(visible=False, value=""), compat.change(visible=True, choices=wanted, value=given)]
    return [compat.change(visible=bool(name), value=written(name, value)), compat.change(visible=False, value=[])]


def start(name: str, strategy: str) -> str:
    """What an axis starts with under a strategy: samplers search ranges without points."""
    if strategy in SEARCHED and name == "blocks":
        return "0-1"
    given = START.get(name, "")
    return BARE.sub(r"\1-\2", given) if strategy in SEARCHED else given


def following(strategy: str, *rows: Any) -> list[Any]:
    """Values that stand as another strategy begins with them, as this one does; those that were written stay."""
    changes = []
    for label, text in zip(rows[::2], rows[1::2], strict=True):
        name = name_of(label)
        known = {start(name, other) for other in ("grid", *SEARCHED)}
        changes.append(compat.change(value=start(name, strategy)) if text in known else compat.change())
    return changes


def about(name: str) -> str:
    """A line about an axis, and how its values are written."""
    from lib_astolfo.search.axes import AXES

    if not name:
        return ""
    words = "" if is_listed(name) else WRITTEN.get(name, NUMBERS)
    return html.note(". ".join(filter(None, [AXES[name].help.capitalize(), words.capitalize()])), "about")


def given_rows(values: Mapping[str, Any]) -> dict[int, tuple[str, Any]]:
    """Row to axis and values, for the rows that have one. Errors: BadInput for an axis that stands twice."""
    found: dict[int, tuple[str, Any]] = {}
    for row in ROWS:
        name = name_of(values.get(f"axis{row}"))
        if not name:
            continue
        if name in [other for other, _ in found.values()]:
            raise BadInput(f"axis{row}", f"{label_of(name)} again", "each axis once")
        given = values.get(f"picks{row}") if is_listed(name) else items(name, values.get(f"values{row}"))
        found[row] = (name, given or [])
    return found


def items(name: str, text: str | None) -> str | list[str]:
    """A field's values: one a line where there are several lines, else split at commas; one stays a text, which may be
    a range."""
    text = (text or "").strip()
    apart = "\n" if "\n" in text or name in ("prompt", "blocks") or text.startswith("text:") else ","
    found = [part.strip() for part in text.split(apart) if part.strip()]
    return found[0] if len(found) == 1 else found


def written(name: str, value: Any) -> str:
    """Values as they stand in the field: the opposite of ``items``."""
    if value is None or isinstance(value, (str, int, float)):
        return "null" if value is None else _word(value)
    words = [_word(one) for one in value]
    return ("\n" if name in ("prompt", "blocks") or any("," in word for word in words) else ", ").join(words)


def _word(value: Any) -> str:
    """One value as ``expand`` reads it back."""
    from lib_astolfo.search.axes import show
    from lib_astolfo.search.values import parse_sampling, parse_uncond

    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping) and "mode" in value:
        uncond = parse_uncond("uncond", value)
        return f"text: {uncond.text}" if uncond.mode == "text" else show(uncond)
    if isinstance(value, Mapping) and "prediction" in value:
        return show(parse_sampling("prediction", value)).lower()
    if isinstance(value, Mapping) and set(value) == {"start", "end"}:
        return f"{value['start']:g}-{value['end']:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{block}:{ratio:g}" for block, ratio in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_word(one) for one in value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def told(name: str, given: Any, strategy: str, refined: str = "") -> str:
    """What the values read as, for people; ``refined``: the axis that is. Errors: BadInput at ``axes.<name>``."""
    from lib_astolfo.search.axes import expand, show

    if not given:
        raise BadInput(f"axes.{name}", "nothing", "values")
    found = BARE.match(given) if isinstance(given, str) and (strategy in SEARCHED or name == refined) else None
    if found and not (strategy in SEARCHED and found[3]):
        return f"from {found[1]} to {found[2]}" + f", {found[3]} values at first" * bool(found[3])
    if strategy in SEARCHED and name == "blocks":
        return ""
    values = expand(name, given)
    words = ", ".join(show(value) for value in values[:MANY]) + ", …" * (len(values) > MANY)
    return f"{len(values)} value{'s' * (len(values) > 1)}: {words}"
