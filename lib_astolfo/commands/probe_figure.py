"""All probed models as one picture: a row for each, with error per reading, gap and ratio over the noise levels."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib_astolfo.sheets.style import COLOURS, LIGHT, MARKERS, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = (
    "error of one step, by reading",
    "gap to null: ‖D - D_null‖ / ‖D_null‖",
    "error of the uncond / error of null",
)
MOST = 40  # models in the picture; the table has all


def figure(models: Sequence[Mapping[str, Any]], *, style: Style = LIGHT) -> Figure:
    """A matplotlib Figure, made without pyplot so that nothing global is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = models[:MOST]
    made = Figure(figsize=(12.5, 2.6 * len(drawn) + 0.7), dpi=110, facecolor=style.paper, layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(len(drawn), 3, squeeze=False, sharex="col", sharey="col")
    for row, model in zip(axes, drawn, strict=True):
        _readings(row[0], model, style)
        if model["uncond"] is None:
            for panel in row[1:]:
                panel.set_axis_off()
            continue
        _levels(row[1], model["uncond"]["levels"], "gap", style)
        _levels(row[2], model["uncond"]["levels"], "ratio", style)
    for panel, title in zip(axes[0], TITLES, strict=True):
        panel.set_title(title, color=style.ink, fontsize=11, fontweight="bold")
    for panel in axes[-1]:
        panel.set_xlabel("noise level σ", color=style.soft)
    for panel in axes[0]:
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False, fontsize=9, labelcolor=style.ink)
    return made


def png(models: Sequence[Mapping[str, Any]], *, style: Style = LIGHT) -> bytes:
    """The figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure(models, style=style).savefig(buffer, format="png", facecolor=style.paper)
    return buffer.getvalue()


def _panel(axes: Axes, style: Style) -> None:
    axes.set_facecolor(style.paper)
    axes.set_xscale("log")
    axes.grid(True, color=style.grid, linewidth=0.8)
    axes.tick_params(colors=style.soft, labelsize=9)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(style.grid)


def _readings(axes: Axes, model: Mapping[str, Any], style: Style) -> None:
    """‖D - x0‖ / ‖x0‖ per reading; the model's name and what it behaves like at the side."""
    from math import exp

    _panel(axes, style)
    family = model["family"]
    for index, reading in enumerate(family["readings"]):
        order = sorted(zip(family["sigmas"], reading["by_sigma"], strict=True))
        xs, ys = [sigma for sigma, _ in order], [exp(value) for _, value in order]
        width = 2.4 if reading["prediction"] == family["prediction"] else 1.2
        axes.plot(xs, ys, color=COLOURS[index], marker=MARKERS[index], linewidth=width, label=reading["prediction"])
    axes.set_yscale("log")
    found = family["prediction"]
    if found == "mixed":
        found = ", ".join(f"{100 * share:.0f} % {name}" for name, share in family["shares"].items())
    name = "\n".join(textwrap.wrap(f"{model['name']} {model['merge']}".strip(), 28)[:4])
    axes.set_ylabel(f"{name}\n→ {found}", color=style.ink, fontsize=9)


def _levels(axes: Axes, levels: Sequence[Mapping[str, Any]], what: str, style: Style) -> None:
    """``gap`` or ``ratio`` of zero and of comma, with standard errors."""
    _panel(axes, style)
    xs = [level["sigma"] for level in levels]
    for index, (name, key) in enumerate((("zero", what), ("comma", f"comma_{what}"))):
        means, errors = ([level[key][part] for level in levels] for part in ("mean", "error"))
        errors = [error if error == error else 0.0 for error in errors]  # NaN: a single picture
        axes.errorbar(
            *(xs, means, errors),
            label=f"{name} against null",
            color=COLOURS[3 * index],
            marker=MARKERS[index],
            linewidth=1.6,
            markersize=4.5,
            capsize=2.5,
        )
    if what == "ratio":
        axes.axhline(1.0, color=style.soft, linewidth=1, linestyle=":")
