"""The learning rate over the run as a small figure under the schedule's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_astolfo.errors import AstolfoError

from . import compat, html
from .form import Form
from .train_values import settings_of

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 360, 96, 44, 8, 18  # user units
FIELDS = ("form", "optimiser", "rate", "epochs", "steps", "schedule", "warmup", "floor", "cycles", "more")


def connect(form: Form, place: Any) -> None:
    """Draw anew when a field changes that it depends on."""
    for name in FIELDS:
        compat.on(form.fields[name].change, lambda *values: draw(form.read(values)), form.inputs, [place])


def draw(values: Mapping[str, Any]) -> str:
    """The figure; nothing while a field has something that cannot be."""
    from lib_astolfo.commands import train_plan

    try:
        given = settings_of({**values, "sources": "", "previews": 0})
        found = train_plan.plan({name: given[name] for name in ("plan", "form", "optimiser") if name in given})
    except (AstolfoError, OverflowError):
        return ""
    steps = int(values.get("steps") or 0)
    return figure(found, f"cut to {steps} steps" if steps else "")


def figure(found: Mapping[str, Any], note: str = "") -> str:
    """SVG of the rate, with bands where the text encoder is frozen, and a line about each phase on the tooltip."""
    epochs, points = found["epochs"], found["points"]
    peak = max((rate for _, rate in points), default=0.0) or 1.0
    wide, high = WIDTH - LEFT - 6, HEIGHT - TOP - BOTTOM

    def x(epoch: float) -> float:
        return LEFT + wide * epoch / epochs

    line = " ".join(f"{x(at):.1f},{TOP + high * (1 - rate / peak):.1f}" for at, rate in points)
    alone = len(found["phases"]) == 1
    bands = "".join(_band(phase, x, high, 0 if alone else index) for index, phase in enumerate(found["phases"], 1))
    ends = f'<text x="{LEFT}" y="{HEIGHT - 4}">0</text><text x="{WIDTH - 6}" y="{HEIGHT - 4}" text-anchor="end">'
    ends += f"{epochs} epochs</text>"
    top = f'<text x="{LEFT - 4}" y="{TOP + 6}" text-anchor="end">{peak:.3g}</text>'
    drawn = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Learning rate over the run">{bands}'
    drawn += f'<polyline class="line c0" points="{line}"/>{top}{ends}</svg>'
    words = ", ".join(filter(None, ("learning rate over the run", note)))
    return f'<figure class="astolfo-curve astolfo-plan">{drawn}<figcaption>{html.text(words)}</figcaption></figure>'


def _band(phase: Mapping[str, Any], x: Any, high: float, index: int) -> str:
    """A phase; ``index`` 0: the only one, whose resolution is the data's own."""
    start, end = x(phase["first"]), x(phase["first"] + phase["epochs"])
    said = [f"{phase['epochs']} epochs" + f" at {phase['resolution']} pixels" * bool(index)]
    said.append(f"peak {phase['rate']:.3g}")
    said += ["text encoder frozen"] if not phase["text_encoder"] else []
    said += [f"captions {phase['captions']}"] if phase["captions"] != "full" else []
    kind = "band" if phase["text_encoder"] else "band frozen"
    box = f'x="{start:.1f}" y="{TOP}" width="{end - start:.1f}" height="{high}"'
    words = f"Phase {index}: " * bool(index) + ", ".join(said)
    return f'<rect class="{kind}" {box}><title>{html.text(words)}</title></rect>'
