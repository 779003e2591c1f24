"""Pictures of differences: bars by block and a list of keys; a matrix of several models; what arithmetic carries."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lib_astolfo.sheets.style import COLOURS, LIGHT, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WRITTEN = 14  # models up to which the numbers stand in the matrix
_SHORT = (
    ("model.diffusion_model.", ""),
    ("conditioner.embedders.0.transformer.text_model.", "CLIP-L "),
    ("cond_stage_model.transformer.text_model.", "CLIP-L "),
    ("conditioner.embedders.1.model.", "CLIP-G "),
    ("cond_stage_model.model.", "CLIP-H "),
    ("first_stage_model.", "VAE "),
    ("transformer_blocks", "tb"),
)


def pair(result: Mapping[str, Any], *, style: Style = LIGHT) -> bytes:
    """PNG of two models: relative distance by block, with a base the cosine of their ways, and the keys that differ
    most as a list coloured by their relative distance."""
    based = any(one["cosine_moved"] is not None for one in result["blocks"].values())
    top = result["top"]
    heights = [2.6, *([1.6] if based else []), *([0.2 * len(top) + 0.6] if top else [])]
    made = _figure(sum(heights) + 0.8, style)
    axes = made.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    a, b = (PurePath(name).stem for name in result["models"])
    _bars(axes[0], {name: 100 * (one["relative"] or 0.0) for name, one in result["blocks"].items()}, style)
    _title(axes[0], f"{b} - {a}, in % of {a}'s norm, by block", style)
    if based:
        _bars(axes[1], {name: one["cosine_moved"] or 0.0 for name, one in result["blocks"].items()}, style, 1)
        axes[1].set_ylim(-1.05, 1.05)
        _title(axes[1], f"cosine of the ways from {PurePath(result['base']).stem}", style)
    if top:
        _list(axes[-1], top, style)
    return _png(made, style)


def many(result: Mapping[str, Any], *, style: Style = LIGHT) -> bytes:
    """PNG of several models: cosines of their ways from the base as a matrix, lengths of the ways, and by block how
    much the models agree (mean cosine of all pairs)."""
    count = len(result["models"])
    size = max(3.2, min(0.34 * count + 1.6, 14.0))
    made = _figure(size + 2.8, style, width=max(9.0, 1.9 * size))
    grid = made.add_gridspec(2, 2, height_ratios=[size, 2.2], width_ratios=[1.6, 1.0])
    labels = [f"{index + 1} {PurePath(name).stem}" for index, name in enumerate(result["models"])]
    _matrix(made.add_subplot(grid[0, 0]), result["cosines"], labels, style)
    lengths = made.add_subplot(grid[0, 1])
    lengths.barh(range(count), result["norms"], color=COLOURS[0])
    lengths.set_ylim(count - 0.5, -0.5)
    lengths.set_yticks([])
    _plain(lengths, style)
    _title(lengths, f"distance from {PurePath(result['base']).stem} (L2)", style)
    blocks = made.add_subplot(grid[1, :])
    _bars(blocks, {name: _mean(one["cosines"]) for name, one in result["blocks"].items()}, style, 2)
    _title(blocks, "mean cosine of all pairs, by block", style)
    return _png(made, style)


def carried(result: Mapping[str, Any], *, style: Style = LIGHT) -> bytes:
    """PNG of ``arithmetic``: the change in % of A's norm by block, what the whole difference would be behind it."""
    based = any(one["cosine"] is not None for one in result["blocks"].values())
    made = _figure(5.4 if based else 3.4, style)
    axes = made.subplots(2 if based else 1, 1, squeeze=False)[:, 0]
    blocks = result["blocks"]
    whole = {name: 100 * one["difference"] / one["norm"] if one["norm"] else 0.0 for name, one in blocks.items()}
    _bars(axes[0], whole, style, 5)
    _bars(axes[0], {name: 100 * (one["relative"] or 0.0) for name, one in blocks.items()}, style)
    _title(axes[0], "what is carried, in % of A's norm (light: the whole difference there)", style)
    if based:
        _bars(axes[1], {name: one["cosine"] or 0.0 for name, one in blocks.items()}, style, 1)
        axes[1].set_ylim(-1.05, 1.05)
        _title(axes[1], f"cosine of the difference with A's own way from {PurePath(result['base']).stem}", style)
    return _png(made, style)


def short(name: str) -> str:
    """A key's name without what is the same in all of its part."""
    for long, word in _SHORT:
        name = name.replace(long, word)
    return name


def _figure(height: float, style: Style, width: float = 11.0) -> Figure:
    """A matplotlib Figure, made without pyplot so that nothing global is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=110, facecolor=style.paper, layout="constrained")
    FigureCanvasAgg(made)
    return made


def _png(figure: Figure, style: Style) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=style.paper)
    return buffer.getvalue()


def _plain(axes: Axes, style: Style) -> None:
    axes.set_facecolor(style.paper)
    axes.tick_params(colors=style.soft, labelsize=8)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(style.grid)


def _title(axes: Axes, text: str, style: Style) -> None:
    axes.set_title(text, color=style.ink, fontsize=11, fontweight="bold", loc="left")


def _bars(axes: Axes, values: Mapping[str, float], style: Style, colour: int = 0) -> None:
    _plain(axes, style)
    axes.grid(True, axis="y", color=style.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.bar(range(len(values)), list(values.values()), color=COLOURS[colour], width=0.72)
    axes.axhline(0.0, color=style.grid, linewidth=1)
    axes.set_xticks(range(len(values)), list(values), rotation=60 if len(values) > 14 else 0)


def _list(axes: Axes, top: Mapping[str, Mapping[str, Any]], style: Style) -> None:
    """The keys with the largest change first, longest bar on top."""
    from matplotlib import colormaps

    shares = [100 * (one["relative"] or 0.0) for one in top.values()]
    most = max(shares, default=0.0) or 1.0
    colours = colormaps["viridis_r"]([0.15 + 0.85 * share / most for share in shares])
    axes.barh(range(len(top)), shares, color=colours)
    axes.set_ylim(len(top) - 0.4, -0.6)
    axes.set_yticks(range(len(top)), [short(name) for name in top], fontsize=7)
    _plain(axes, style)
    axes.tick_params(axis="y", labelsize=7)
    _title(axes, f"the {len(top)} keys that differ most, in % of their norm", style)


def _matrix(axes: Axes, values: Sequence[Sequence[float | None]], labels: Sequence[str], style: Style) -> None:
    cells = [[float("nan") if value is None else value for value in row] for row in values]
    axes.imshow(cells, cmap="RdBu_r", vmin=-1.0, vmax=1.0, aspect="auto")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xticks(range(len(labels)), [str(index + 1) for index in range(len(labels))])
    _plain(axes, style)
    _title(axes, "cosine of the ways from the base", style)
    if len(labels) <= WRITTEN:
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                ink = "#ffffff" if abs(value or 0.0) > 0.6 else style.ink
                shown = "-" if value is None else f"{round(value, 2) + 0.0:.2f}"
                axes.text(j, i, shown, ha="center", va="center", fontsize=8, color=ink)


def _mean(cosines: Sequence[Sequence[float | None]]) -> float:
    pairs = [value for i, row in enumerate(cosines) for value in row[:i] if value is not None]
    return sum(pairs) / len(pairs) if pairs else 0.0
