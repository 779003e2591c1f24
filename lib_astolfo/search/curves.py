"""Scores over the ratio as a figure: one row per score, one panel per CFG, one line per uncond, with error bars."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lib_astolfo.search import findings
from lib_astolfo.search.axes import AXES, show
from lib_astolfo.search.plan import title
from lib_astolfo.sheets.style import COLOURS, LIGHT, MARKERS, Style, blank, frame, legend
from lib_astolfo.sheets.style import DARK as DARK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lib_astolfo.scoring.score import Score
    from lib_astolfo.search.findings import Curve
    from lib_astolfo.search.study import StudyResult

MAX_PANELS = 6  # beside each other


def figure(result: StudyResult, scores: Sequence[Score] | None = None, *, style: Style = LIGHT) -> Figure:
    """A matplotlib Figure, made without pyplot so that nothing global is touched; empty without a ratio axis.

    ``scores``: those to draw; None: the primary first, then all others. A shaded band is the 95 % interval of the
    optimum, the ring the best point measured. Lines leave the panel where points far from the optimum would flatten it.
    """
    drawn = list(scores) if scores is not None else ordered(result)
    panels = _panels(result)
    heights = [1.6 if score is result.plan.primary else 1.0 for score in drawn] or [1.0]
    size = (max(3.1 * len(panels), 5.5) + 1.2, 2.1 * sum(heights) + 0.9)
    made = blank(size, style)
    if not panels or not drawn:
        return made
    axes = made.subplots(len(drawn), len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=heights)
    for row, score in enumerate(drawn):
        curves = findings.curves(result, score)
        for column, panel in enumerate(panels):
            _panel(axes[row][column], [curve for curve in curves if _in_panel(curve, panel)], score, style)
            if row == 0:
                axes[row][column].set_title(
                    title(panel) if panel else "", color=style.ink, fontsize=11, fontweight="bold"
                )
            if row == len(drawn) - 1:
                axes[row][column].set_xlabel("merge ratio (0 base, 1 trained)", color=style.soft)
        axes[row][0].set_ylabel(_label(score), color=style.ink)
        _limit(axes[row][0], curves, score)
    legend(made, axes[0][0], style)
    return made


def ordered(result: StudyResult) -> list[Score]:
    """The primary score first, then the others that decide, then the rest."""
    scores, primary = list(result.plan.scores.values()), result.plan.primary
    return sorted(scores, key=lambda score: (score is not primary, not score.decides))


def png(result: StudyResult, *, style: Style = LIGHT, scores: Sequence[Score] | None = None) -> bytes:
    """The figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure(result, scores, style=style).savefig(buffer, format="png", facecolor=style.paper)
    return buffer.getvalue()


def _panels(result: StudyResult) -> list[dict[str, Any]]:
    """The values of all axes but ratio and uncond, each combination once."""
    panels: list[dict[str, Any]] = []
    for cell in result.cells:
        values = {name: value for name, value in cell.cell.values.items() if name not in ("ratio", "uncond")}
        if "ratio" in cell.cell.values and values not in panels:
            panels.append(values)
    order = {name: list(values) for name, values in result.plan.axes.items()}
    panels.sort(key=lambda panel: [order[name].index(value) for name, value in panel.items()])
    return panels[:MAX_PANELS]


def _in_panel(curve: Curve, panel: Mapping[str, Any]) -> bool:
    return {name: value for name, value in curve.others.items() if name != "uncond"} == dict(panel)


def _label(score: Score) -> str:
    words = {"lower": " (lower is better)", "higher": " (higher is better)", "none": ""}
    direction = words[score.better] if isinstance(score.better, str) else f" (best at {score.better:g})"
    return f"{score.name}{direction}"


def _panel(axes: Axes, curves: Sequence[Curve], score: Score, style: Style) -> None:
    frame(axes, style)
    for index, curve in enumerate(curves):
        _line(axes, curve, index)
    if isinstance(score.better, (int, float)):
        axes.axhline(float(score.better), color=style.soft, linewidth=1, linestyle=":")


def _limit(axes: Axes, curves: Sequence[Curve], score: Score) -> None:
    """Keep the region of the optimum readable where a few far points would take most of the height."""
    means = np.array([value.mean for curve in curves for value in curve.values])
    if score.limit is not None or score.better not in ("lower", "higher") or means.size < 8:
        return
    losses = score.loss(means)
    low, most, high = losses.min(), float(np.quantile(losses, 0.75)), losses.max()
    if high - low < 2.0 * (most - low) or most <= low:
        return
    room = 0.3 * (most - low)
    ends = (low - room, most + room)
    axes.set_ylim(*(ends if score.better == "lower" else (-ends[1], -ends[0])))


def _line(axes: Axes, curve: Curve, index: int) -> None:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    means = np.array([value.mean for value in curve.values])
    errors = np.nan_to_num(np.array([value.error for value in curve.values]))
    name = AXES["uncond"].label(curve.others["uncond"]) if "uncond" in curve.others else curve.score.name
    axes.errorbar(
        *(curve.xs, means, errors), label=name, color=colour, marker=marker, markersize=4.5, linewidth=1.6, capsize=2.5
    )
    best = curve.optimum
    if best is None or best.kind in ("flat", "edge") or curve.score.limit is not None:
        return
    axes.axvspan(best.low, best.high, color=colour, alpha=0.13, linewidth=0)
    axes.plot([best.best], [means[best.index]], marker="o", markersize=11, color="none", markeredgecolor=colour)
    axes.annotate(
        show(round(best.position, 2)),
        (best.position, 1.0),
        xytext=(0, -3 - 11 * index),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color=colour,
        fontsize=9,
        fontweight="bold",
        ha="center",
        va="top",
    )
