"""The closed accordions of the Merge panel: precise ratios, adjust, LoRAs, clashes, the recipe as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import compat
from .form import Form

PREDICTIONS = ("auto", "same", "a", "b", "eps", "v", "rf")


def fields(form: Form) -> Any:
    """Four closed accordions; returns the button that writes a recipe."""
    with gr.Accordion("Elements, patterns, adjust", open=False, elem_id=form.element("precise_panel")):
        words = "blocks:elements:ratio, one a line, as IN03-OUT05:attn2:0.3 or NOT M00:ff,norm:0; later lines win"
        form.text("elements", "Elements", words, lines=2, max_lines=12)
        words = "regular expression: ratio, one a line, searched in the names of tensors; goes before all others"
        form.text("patterns", "Patterns", words, lines=2, max_lines=12)
        form.text(
            "adjust", "Adjust", "Detail 1, detail 2, detail 3, contrast, brightness, colour 1 to 3; 0 does nothing"
        )
    with gr.Accordion("LoRAs", open=False, elem_id=form.element("loras_panel")):
        words = "file: weight, one a line, or file: weight, weight of the text encoders"
        form.text("loras", "LoRAs baked into the result", words, lines=2, max_lines=12)
    with gr.Accordion("When models do not agree", open=False, elem_id=form.element("policy_panel")):
        words = "How the result is sampled; auto: as the method implies, same: a clash is an error"
        form.radio("prediction", "Prediction", words, PREDICTIONS, "auto")
        with gr.Row():
            form.radio("non_finite", "Values that are not finite", "keep_a: A's instead", ("error", "keep_a"), "error")
            form.radio("layout", "Layouts", "any: the keys that fit", ("same", "any"), "same")
    with gr.Accordion("Recipe", open=False, elem_id=form.element("recipe_panel")):
        words = "Of Astolfo, sd-mecha, A1111, supermerger, auto-MBW or mergekit. What stands here is merged instead"
        form.text("recipe", "Recipe as text", words, lines=4, max_lines=24)
        return gr.Button("Write the fields as a recipe", size="sm", elem_id=form.element("write"))


def connect(form: Form, button: Any, settings_of: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """``button`` writes the panel's fields as a recipe; an error stands in the recipe's place as a comment."""

    def write(*values: Any) -> str:
        try:
            return as_text(settings_of({**form.read(values), "recipe": ""}))
        except BadInput as error:
            return f"# {error}"

    compat.on(button.click, write, form.inputs, [form.fields["recipe"]])


def as_text(settings: Mapping[str, Any]) -> str:
    """A recipe's YAML from the command's settings. Errors: BadInput."""
    from lib_astolfo.commands import live

    return live.recipe_of({name: value for name, value in settings.items() if name in live.RECIPE_KEYS}).to_yaml()


def read(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the accordions say, as the command ``merge`` takes it. Errors: BadInput naming the field."""
    return {
        "elements": (values.get("elements") or "").strip(),
        "patterns": {
            pattern: _number("patterns", ratio) for pattern, ratio in _pairs("patterns", values.get("patterns"))
        },
        "adjust": (values.get("adjust") or "").strip(),
        "loras": lora_uses(values.get("loras")),
    }


def lora_uses(text: str | None) -> list[dict[str, Any]]:
    """LoRA files with their weights, one a line. Errors: BadInput naming the field ``loras``."""
    return [_lora(file, weights) for file, weights in _pairs("loras", text)]


def _pairs(field: str, text: str | None) -> list[tuple[str, str]]:
    """Lines of a name and a value; the last colon parts them."""
    pairs = []
    for line in filter(None, (line.strip() for line in (text or "").splitlines())):
        name, colon, value = line.rpartition(":")
        if not colon or not name.strip():
            raise BadInput(field, line, "a name, a colon and a number")
        pairs.append((name.strip(), value.strip()))
    return pairs


def _lora(file: str, weights: str) -> dict[str, Any]:
    weight, *rest = [_number("loras", part) for part in weights.split(",")]
    if len(rest) > 1:
        raise BadInput("loras", f"{file}: {weights}", "one weight, or two: UNet and text encoders")
    return {"file": file, "weight": weight, **({"te_weight": rest[0]} if rest else {})}


def _number(field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise BadInput(field, text, "a number") from error
