"""A panel's fields under their settings' names, their values as one dict, and errors at the field they concern."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from lib_astolfo.errors import AstolfoError, BadInput

from . import compat, html


@dataclass
class Form:
    """Fields of one panel. ``prefix`` starts their element ids: ``astolfo_lab`` gives ``astolfo_lab_seed``.

    ``applies`` maps a field to the field that it depends on and that one's values: with any other value it is
    hidden and left out of ``read``; so is the component ``beside`` it. ``names`` maps the end of an error's
    ``where`` to a field called otherwise.
    """

    prefix: str
    applies: Mapping[str, tuple[str, Collection[Any]]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def element(self, name: str) -> str:
        return f"{self.prefix}_{name}"

    def add(self, name: str, component: type, label: str, help: str = "", **options: Any) -> Any:
        """Make a field; ``help`` is the line of words under its label."""
        options.setdefault("visible", self.starts_shown(name))
        made = compat.make(component, label=label, info=help or None, elem_id=self.element(name), **options)
        self.fields[name] = made
        self.labels[name] = label
        return made

    def slider(self, name: str, label: str, help: str, span: tuple[float, float, float], **options: Any) -> Any:
        """A number in a range; ``span`` is (least, most, step)."""
        low, high, step = span
        return self.add(name, gr.Slider, label, help, minimum=low, maximum=high, step=step, **options)

    def text(self, name: str, label: str, help: str, **options: Any) -> Any:
        """A text of one line unless ``lines`` says more."""
        return self.add(name, gr.Textbox, label, help, **{"lines": 1, "max_lines": 1, **options})

    def whole(self, name: str, label: str, help: str, value: int) -> Any:
        """A whole number, typed in."""
        return self.add(name, gr.Number, label, help, value=value, precision=0, min_width=120)

    def radio(self, name: str, label: str, help: str, choices: Sequence[str], value: str) -> Any:
        """One of a few words."""
        return self.add(name, gr.Radio, label, help, choices=list(choices), value=value)

    def starts_shown(self, name: str) -> bool:
        """Whether a field applies when the page is opened; the field it depends on must be there."""
        other, values = self.applies.get(name, ("", ()))
        return not other or self.fields[other].value in values

    @property
    def inputs(self) -> list[Any]:
        return list(self.fields.values())

    def read(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values of ``inputs`` under their names, without those that do not apply."""
        found = dict(zip(self.fields, values, strict=True))
        return {name: value for name, value in found.items() if self.shown(name, found)}

    def shown(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a field applies, given the values of the fields."""
        if name not in self.applies:
            return True
        other, wanted = self.applies[name]
        return values[other] in wanted and self.shown(other, values)

    def connect(self) -> None:
        """Show and hide fields as those that they depend on change."""
        for other in {other for other, _ in self.applies.values()}:
            names = [name for name, (on, _) in self.applies.items() if on == other]
            outputs = [(name, found[name]) for found in (self.fields, self.beside) for name in names if name in found]

            def show(value: Any, names: tuple[str, ...] = tuple(name for name, _ in outputs)) -> Any:
                shown = [compat.change(visible=value in self.applies[name][1]) for name in names]
                return shown if len(shown) > 1 else shown[0]

            compat.on(self.fields[other].change, show, [self.fields[other]], [made for _, made in outputs])

    def problem(self, error: Exception) -> str:
        """An error in HTML, addressed to its field when one is named in it."""
        name = self.find(error.where) if isinstance(error, BadInput) else ""
        if not name or not isinstance(error, BadInput):
            return html.problem(str(error))
        return html.problem(f"found {error.found}; expected {error.expected}", self.element(name), self.labels[name])

    def find(self, where: str) -> str:
        """The field that an error's ``where`` speaks of, or "": by its whole text, then by its parts from the end."""
        parts = [part for part in re.split(r"[\s.:\[\]]+", where) if part]
        for name in ["_".join(parts), *reversed(parts)]:
            found = self.names.get(name, name)
            if found in self.fields:
                return found
        return ""

    def guarded(self, function: Callable[[dict[str, Any]], Sequence[Any]], outputs: int) -> Callable[..., list[Any]]:
        """An event function over ``inputs`` that returns ``outputs`` values and then the panel's error line.

        An error of Astolfo, of torch (memory) or of a disk leaves the outputs as they are and fills the error line.
        """

        def run(*values: Any) -> list[Any]:
            try:
                return [*function(self.read(values)), ""]
            except (AstolfoError, RuntimeError, OSError) as error:
                return [*[compat.change() for _ in range(outputs)], self.problem(error)]

        return run

    def errors_line(self) -> Any:
        """Where the panel's errors stand before the page's script moves them to their fields."""
        return gr.HTML("", elem_id=self.element("errors"), elem_classes=["astolfo-errors"])
