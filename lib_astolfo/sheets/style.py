"""Colours and frames of figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart; markers differ too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Style:
    """Colours of paper and ink."""

    paper: str
    ink: str
    soft: str
    grid: str


LIGHT = Style("#ffffff", "#1d2330", "#667085", "#e4e7ec")
DARK = Style("#1b1f2a", "#e6e9f0", "#98a2b3", "#333a49")


def blank(size: tuple[float, float], style: Style) -> Figure:
    """An empty matplotlib Figure of ``size`` in inches, made without pyplot so that nothing global is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=size, dpi=110, facecolor=style.paper, layout="constrained")
    FigureCanvasAgg(made)
    return made


def frame(axes: Axes, style: Style) -> None:
    """Paper, grid and two spines."""
    axes.set_facecolor(style.paper)
    axes.grid(True, color=style.grid, linewidth=0.8)
    axes.tick_params(colors=style.soft, labelsize=9)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(style.grid)


def legend(made: Figure, first: Axes, style: Style) -> None:
    """The labels of the first panel, above the figure."""
    handles, labels = first.get_legend_handles_labels()
    if handles:
        drawn = made.legend(handles, labels, loc="outside upper right", frameon=False, ncols=len(labels), fontsize=10)
        for text in drawn.get_texts():
            text.set_color(style.ink)
