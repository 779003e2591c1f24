"""Surfaces as one picture: the score over two axes, a panel for each combination of the others, and below it the
pictures of the products that follow, one for each uncond."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from lib_astolfo.search import surface
from lib_astolfo.search.axes import AXES, show
from lib_astolfo.search.plan import columns, title
from lib_astolfo.sheets.drawing import INK, MARGIN, PAPER, SOFT, fit, font, tiles, tiles_across, untile
from lib_astolfo.sheets.style import COLOURS, LIGHT, Style, blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lib_astolfo.scoring.score import Score
    from lib_astolfo.search.study import StudyResult
    from lib_astolfo.search.surface import Product, Surface

MAX_PANELS, ACROSS = 12, 4
SIDE = 168  # pixels of a product's picture
SHOWN = 4  # pictures of a product
BEFORE = ("cfg", "prediction", "snapshot", "uncond", "cfg_rescale", "shift", "steps")  # what is shown against the ratio


def axes_of(result: StudyResult) -> tuple[str, str] | None:
    """The two axes of the panels: the ratio, or the first that varies, against CFG, prediction, snapshot, …"""
    varying = [name for name, values in result.plan.axes.items() if len(values) > 1 and name not in ("blocks", "seed")]
    if len(varying) < 2:
        return None
    x = "ratio" if "ratio" in varying else varying[0]
    rest = [name for name in varying if name != x]
    return x, next((name for name in BEFORE if name in rest), rest[0])


def surfaces(result: StudyResult, score: Score) -> list[Surface]:
    """The surfaces of a study, one for each combination of the axes besides the two."""
    axes = axes_of(result)
    if axes is None:
        return []
    x, y = axes
    found = []
    for others in columns(result.plan, x):
        if others[y] != result.plan.axes[y][0]:
            continue
        made = surface.surface(result, score, x, y, {name: value for name, value in others.items() if name != y})
        if made is not None:
            found.append(made)
    return found


def png(result: StudyResult, *, style: Style = LIGHT) -> bytes:
    """The picture of the primary score's surfaces as the bytes of a PNG; b"" where there is none."""
    score = result.plan.primary
    panels = [] if score is None else surfaces(result, score)
    if score is None or not panels:
        return b""
    drawn = _heat(panels[:MAX_PANELS], score, style)
    products = surface.products(result, score)
    whole = drawn if len(products) < 2 else _under(drawn, _products(result, products, score), style)
    buffer = io.BytesIO()
    whole.save(buffer, format="PNG")
    return buffer.getvalue()


def _heat(panels: Sequence[Surface], score: Score, style: Style) -> Image.Image:
    across = min(len(panels), ACROSS)
    down = -(-len(panels) // across)
    columns_, rows = len(panels[0].xs), len(panels[0].ys)
    size = (max(across * (1.1 + 0.52 * columns_), 5.0) + 0.9, down * (1.0 + 0.42 * max(rows, 2)) + 0.5)
    made = blank(size, style)
    grid = made.subplots(down, across, squeeze=False)
    losses = np.concatenate([score.loss(one.means).ravel() for one in panels])
    limits = _limits(losses[np.isfinite(losses)])
    best = min(panels, key=lambda one: float(np.nanmin(score.loss(one.means))))
    for axes in grid.ravel()[len(panels) :]:
        axes.set_visible(False)
    for axes, one in zip(grid.ravel(), panels, strict=False):
        _panel(axes, one, limits, style, best=one is best)
    made.suptitle(_heading(score), color=style.ink, fontsize=10, x=0.01, ha="left")
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", facecolor=style.paper)
    with Image.open(buffer) as image:
        return image.convert("RGB")


def _limits(losses: np.ndarray) -> tuple[float, float]:
    """The colours' range: bad cells far from the rest do not take all of it."""
    low, high = float(losses.min()), float(np.quantile(losses, 0.9))
    return low, high if high > low else low + 1e-9


def _heading(score: Score) -> str:
    better = f"{score.better} is better" if isinstance(score.better, str) else f"best at {score.better:g}"
    return (
        f"{score.name} ({better}); framed: best of its panel, thick: best of all; dot: the optimum may lie there (95 %)"
    )


def _panel(axes: Axes, one: Surface, limits: tuple[float, float], style: Style, *, best: bool) -> None:
    losses = one.score.loss(one.means).T
    axes.imshow(losses, origin="lower", aspect="auto", cmap="viridis_r", vmin=limits[0], vmax=limits[1])
    middle = (limits[0] + limits[1]) / 2
    for i in range(len(one.xs)):
        for j in range(len(one.ys)):
            if np.isfinite(one.means[i, j]):
                ink = "#111111" if losses[j, i] < middle else "#ffffff"
                axes.text(i, j, f"{one.means[i, j]:.2f}", ha="center", va="center", fontsize=7.5, color=ink)
    for i, j in one.region():
        axes.plot([i + 0.36], [j + 0.32], marker="o", markersize=3, color=COLOURS[1])
    _frame_best(axes, one.best, 3.4 if best else 1.6)
    axes.set_xticks(range(len(one.xs)), [_tick(one.x, value) for value in one.xs], fontsize=8, color=style.soft)
    axes.set_yticks(range(len(one.ys)), [_tick(one.y, value) for value in one.ys], fontsize=8, color=style.soft)
    axes.set_xlabel(AXES[one.x].words or one.x, fontsize=8, color=style.soft)
    axes.set_ylabel(AXES[one.y].words or one.y, fontsize=8, color=style.soft)
    axes.set_title(title(one.others) if one.others else "", fontsize=10, fontweight="bold", color=style.ink)


def _tick(name: str, value: Any) -> str:
    words = AXES[name].short(value)
    return words if len(words) <= 18 else f"…{words[-17:]}"


def _frame_best(axes: Axes, at: tuple[int, int], width: float) -> None:
    from matplotlib.patches import Rectangle

    corner = (at[0] - 0.5, at[1] - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=width, clip_on=False, zorder=5))


def _products(result: StudyResult, products: Sequence[Product], score: Score) -> list[tuple[str, str, Image.Image]]:
    """For each product its heading, its figures, and some of its pictures."""
    found = []
    for one in products:
        value = one.best.scores[score.name]
        rest = {name: given for name, given in one.best.cell.values.items() if name != "uncond"}
        words = f"{title(rest)}: {score.name} {value.mean:.3f} ± {value.error:.3f}"
        found.append((f"best under {show(one.uncond)}", words, _pictures(result, one)))
    return found


def _pictures(result: StudyResult, one: Product) -> Image.Image:
    count = result.plan.settings.pictures
    with Image.open(result.folder / one.best.picture) as image:
        sheet = image.convert("RGB")
    drawn = tiles(untile(sheet, count, SHOWN), sheet.width // tiles_across(count))
    wide = SIDE * drawn.width // max(drawn.width, drawn.height), SIDE * drawn.height // max(drawn.width, drawn.height)
    return drawn.resize(wide, Image.Resampling.NEAREST if drawn.width < SIDE else Image.Resampling.LANCZOS)


def _under(drawn: Image.Image, products: list[tuple[str, str, Image.Image]], style: Style) -> Image.Image:
    """The products in rows below the panels."""
    wide = max(drawn.width, 720)
    each = max(SIDE + 2 * MARGIN, 330)
    across = max(1, min(len(products), wide // each))
    step = (wide - MARGIN) // across
    down = -(-len(products) // across)
    whole = Image.new("RGB", (wide, drawn.height + down * (SIDE + 58) + MARGIN), PAPER)
    whole.paste(drawn, (0, 0))
    draw = ImageDraw.Draw(whole)
    for index, (heading, words, picture) in enumerate(products):
        x, y = MARGIN + index % across * step, drawn.height + 8 + index // across * (SIDE + 58)
        draw.text((x, y), fit(heading, step - 8, 15, bold=True), font=font(15, bold=True), fill=INK)
        draw.text((x, y + 20), fit(words, step - 8, 12), font=font(12), fill=SOFT)
        whole.paste(picture, (x, y + 40))
    return whole
