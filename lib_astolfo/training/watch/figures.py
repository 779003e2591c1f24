"""The history of a run as one figure: losses, losses by noise level, gradients, weights that move, rates, drift."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.sheets.style import COLOURS, LIGHT, MARKERS, Style, blank, frame
from lib_astolfo.training.bins import EDGES
from lib_astolfo.training.watch import levels
from lib_astolfo.training.watch.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "curves.png"
POINTS = 300  # of a line
SPANS = 4  # lines of the losses by noise level: spans of the run
MIDDLES = (EDGES[0] - 0.5, *(0.5 * (a + b) for a, b in pairwise(EDGES)), EDGES[-1] + 0.5)

Row = Mapping[str, Any]


def figure(rows: Iterable[Row], *, window: int = 50, style: Style = LIGHT) -> Figure:
    """A matplotlib Figure of the panels that there is something to show in. ``window``: steps averaged over."""
    held: dict[str, list[Row]] = {}
    for row in rows:
        held.setdefault(str(row["kind"]), []).append(row)
    panels = [panel for panel, needs in _PANELS if held.get(needs)]
    down = -(-max(len(panels), 1) // 2)
    made = blank((11.0, 3.0 * down + 0.3), style)
    if not panels:
        return made
    axes = made.subplots(down, 2, squeeze=False).flatten()
    for one, panel in zip(axes, panels, strict=False):
        frame(one, style)
        panel(one, held, window, style)
    for one in axes[len(panels) :]:
        one.set_visible(False)
    return made


def png(rows: Iterable[Row], *, window: int = 50, style: Style = LIGHT) -> bytes:
    """The figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure(rows, window=window, style=style).savefig(buffer, format="png", facecolor=style.paper)
    return buffer.getvalue()


def write(folder: Path, window: int = 50) -> Path | None:
    """Draw the history of a run's ``folder`` into ``curves.png`` there; None where there is no step in it."""
    rows = list(History(folder).rows())
    if not any(row["kind"] == "step" for row in rows):
        return None
    path, part = folder / NAME, folder / f".{NAME}.part"
    part.write_bytes(png(rows, window=window))
    part.replace(path)
    return path


def line(rows: Sequence[Row], key: Callable[[Row], float | None], window: int) -> tuple[list[int], list[float]]:
    """Steps and means of a value over groups of rows: ``window`` long, longer where there would be too many points.
    Skipped steps and unknown values are left out."""
    size = max(1, min(window, len(rows) // 8 or 1), -(-len(rows) // POINTS))
    xs, ys = [], []
    for start in range(0, len(rows), size):
        group = [row for row in rows[start : start + size] if not row.get("skipped")]
        values = [float(value) for value in map(key, group) if value is not None]
        if values:
            xs.append(int(group[-1]["step"]))
            ys.append(math.fsum(values) / len(values))
    return xs, ys


Held = Mapping[str, list[Row]]


def _loss(axes: Axes, held: Held, window: int, style: Style) -> None:
    steps = held["step"]
    name = "relative" if any(row["relative"] is not None for row in steps) else "raw"
    axes.plot(*line(steps, lambda row: row[name], window), color=COLOURS[0], linewidth=1.4, label="in training")
    sets = dict.fromkeys(str(row["set"]) for row in held.get("validation", []))
    for index, which in enumerate(sets, 1):
        rows = [row for row in held["validation"] if row["set"] == which and row["mean"] is not None]
        xs, ys = [row["step"] for row in rows], [row["mean"] for row in rows]
        errors = [row["error"] or 0.0 for row in rows]
        label = {"held_out": "held out", "trained": "trained, at fixed noise"}.get(which, which)
        axes.errorbar(
            *(xs, ys, errors), color=COLOURS[index], marker=MARKERS[index], markersize=4, capsize=2, label=label
        )
    for row in held.get("rollback", []):
        axes.axvline(row["step"], color=style.soft, linewidth=1, linestyle=":")
    words = "loss / least possible for Gaussian pictures" if name == "relative" else "loss"
    _titled(axes, words, "step", style, legend=True)


def _levels(axes: Axes, held: Held, window: int, style: Style) -> None:
    steps = [row for row in held["step"] if row["levels"]]
    size = max(1, -(-len(steps) // SPANS))
    for index, start in enumerate(range(0, len(steps), size)):
        span = steps[start : start + size]
        means = levels.curve(span)
        shown = [(x, y) for x, y in zip(MIDDLES, means, strict=True) if y == y]
        if shown:
            label = f"steps {span[0]['step']} to {span[-1]['step']}"
            axes.plot(*zip(*shown, strict=True), color=COLOURS[index], marker=MARKERS[index], markersize=4, label=label)
    axes.set_yscale("log")
    _titled(axes, "loss by noise level", "ln sigma (little noise left, much right)", style, legend=True)


def _norm(axes: Axes, held: Held, window: int, style: Style) -> None:
    axes.plot(*line(held["step"], lambda row: row["norm"], window), color=COLOURS[2], linewidth=1.4)
    skipped = [row["step"] for row in held["step"] if row["skipped"]]
    for step in skipped[:100]:
        axes.axvline(step, color=COLOURS[1], linewidth=0.8, alpha=0.6)
    axes.set_yscale("log")
    _titled(axes, "norm of the gradient" + (", skipped steps marked" if skipped else ""), "step", style)


def _moved(axes: Axes, held: Held, window: int, style: Style) -> None:
    xs, ys = line(held["step"], lambda row: 100.0 * row["moved"], window)
    axes.plot(xs, ys, color=COLOURS[3], linewidth=1.4)
    axes.set_ylim(-3, 103)
    _titled(axes, "weights that moved, percent", "step", style)


def _rates(axes: Axes, held: Held, window: int, style: Style) -> None:
    for index, group in enumerate(sorted(held["step"][0]["rates"])):
        xs, ys = line(held["step"], lambda row, name=group: row["rates"].get(name), 1)  # type: ignore[misc]
        axes.plot(xs, ys, color=COLOURS[index % len(COLOURS)], linewidth=1.4, label=group)
    _titled(axes, "learning rate", "step", style, legend=True)


def _drift(axes: Axes, held: Held, window: int, style: Style) -> None:
    rows = held["drift"]
    for index, sigma in enumerate(rows[-1]["sigmas"]):
        there = [(row["step"], *_at(row, sigma)) for row in rows if sigma in row["sigmas"]]
        xs, ys, errors = zip(*there, strict=True)
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        axes.errorbar(*(xs, ys, errors), color=colour, marker=marker, markersize=4, capsize=2, label=f"σ {sigma:g}")
    axes.axhline(1.0, color=style.soft, linewidth=1, linestyle=":")
    _titled(axes, "error under zero / error under null", "step", style, legend=True)


def _at(row: Row, sigma: float) -> tuple[float, float]:
    index = row["sigmas"].index(sigma)
    return row["ratio"][index], row["ratio_error"][index] or 0.0


def _titled(axes: Axes, title: str, below: str, style: Style, *, legend: bool = False) -> None:
    axes.set_title(title, color=style.ink, fontsize=11, fontweight="bold", loc="left")
    axes.set_xlabel(below, color=style.soft, fontsize=9)
    if legend and axes.get_legend_handles_labels()[0]:
        for text in axes.legend(frameon=False, fontsize=8).get_texts():
            text.set_color(style.ink)


#: Panels in their order, and the kind of row that each needs.
_PANELS: tuple[tuple[Callable[[Axes, Held, int, Style], None], str], ...] = (
    (_loss, "step"),
    (_levels, "step"),
    (_norm, "step"),
    (_moved, "step"),
    (_rates, "step"),
    (_drift, "drift"),
)
