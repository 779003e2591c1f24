"""The left of the Merge panel: the method with its formula and options, and a checkpoint for each of its slots."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import gradio as gr

from lib_astolfo.errors import BadInput

from . import choices, compat, html
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.merging.method import Method

MODELS = (
    ("a", "A", "Ratio 0; the VAE is taken from here"),
    ("b", "B, trained", "Ratio 1"),
    ("c", "C, what B was trained from", "Its difference to B is added to A"),
    ("base", "Base", "What the others were trained from; the differences from it are merged"),
)
FIRST = "weighted_sum"


def applies() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Which fields a method has."""
    from lib_astolfo.merging.methods import METHODS

    def methods(wanted: Any) -> tuple[str, tuple[str, ...]]:
        return "method", tuple(name for name, method in METHODS.items() if wanted(method))

    return {
        "b": methods(lambda method: "b" in method.inputs),
        "c": methods(lambda method: "c" in method.inputs),
        "base": methods(lambda method: method.space == "delta"),
        "more": methods(lambda method: method.many),
        "options": methods(lambda method: own_options(method)),
    }


def own_options(method: Method) -> dict[str, Any]:
    """The options of a method that are not its ratio."""
    return {name: value for name, value in method.options.items() if name != "alpha"}


def fields(form: Form, workspace: Workspace) -> tuple[Any, Any]:
    """Method, models and options; returns the list of model A and the place of the formula."""
    from lib_astolfo.merging.methods import METHODS

    form.add("method", gr.Dropdown, "Method", "Type to search the list", choices=list(METHODS), value=FIRST)
    formula = gr.HTML(about(FIRST), elem_id=form.element("formula"))
    a, *_ = choices.model_fields(form, workspace, MODELS)
    words = "Merged with the others alike, in any number"
    form.add("more", gr.Dropdown, "More models", words, choices=choices.names(workspace), value=[], multiselect=True)
    words = "One a line, as k: 0.2; what is left out stands at its default"
    form.text("options", "Options of the method", words, lines=2, max_lines=12, value=defaults(FIRST))
    return a, formula


def connect(form: Form, formula: Any) -> None:
    """The formula, the options and the ratio's usual value follow the method; its share is 1 where it has no ratio."""
    from lib_astolfo.merging.methods import METHODS

    method = form.fields["method"]
    outputs = [formula, form.fields["options"], form.fields["ratio"]]
    compat.on(
        method.change,
        lambda name: [about(name), defaults(name), METHODS[name].options.get("alpha", 1.0)],
        [method],
        outputs,
    )


def about(name: str) -> str:
    """A method's formula and where it is from."""
    from lib_astolfo.merging.methods import METHODS

    return html.note(METHODS[name].formula, "formula") + html.note(METHODS[name].reference, "about")


def defaults(name: str) -> str:
    """A method's options at their defaults, as the field has them."""
    from lib_astolfo.merging.methods import METHODS

    values = own_options(METHODS[name])
    words = {key: str(value).lower() if isinstance(value, bool) else value for key, value in values.items()}
    return "\n".join(f"{key}: {word}" for key, word in words.items())


def read(values: Mapping[str, Any]) -> dict[str, str]:
    """Slot to checkpoint; further models take the letters that are left, then numbers."""
    found = {slot: values[slot] for slot, _, _ in MODELS if values.get(slot)}
    free = [letter for letter in ascii_lowercase if letter not in found]
    more = values.get("more") or []
    names = [*free, *(f"m{number}" for number in range(len(free), len(more)))]
    return {**found, **dict(zip(names, more, strict=False))}


def options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the method takes them. Errors: BadInput naming the field."""
    from lib_astolfo.merging import recipe_reading

    text = (values.get("options") or "").strip()
    try:
        found = recipe_reading.parse_yaml(text, "options") if text else {}
    except BadInput as error:
        raise BadInput("options", text, "one option a line, as k: 0.2") from error
    policy = {name: values[name] for name in ("prediction", "non_finite", "layout") if values.get(name)}
    usual = {"prediction": "auto", "non_finite": "error", "layout": "same"}
    return {**found, **{name: value for name, value in policy.items() if value != usual[name]}}
