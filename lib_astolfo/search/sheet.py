"""Contact sheets: the pictures of one cell, and all cells with labelled axes, as PNG with infotext."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from lib_astolfo.search.axes import AXES, show
from lib_astolfo.search.plan import columns
from lib_astolfo.sheets.drawing import GAP, INK, LABEL, LINE, MARGIN, MARK, MAX_SIDE, PAPER, SOFT, fit, font
from lib_astolfo.sheets.drawing import keep as keep
from lib_astolfo.sheets.drawing import save as save
from lib_astolfo.sheets.drawing import tiles as tiles
from lib_astolfo.sheets.drawing import tiles_across as tiles_across
from lib_astolfo.sheets.drawing import untile as untile

if TYPE_CHECKING:
    from lib_astolfo.search.store import CellResult
    from lib_astolfo.search.study import StudyResult

CELL_SIDE = 192  # about the side of a cell in the contact sheet; larger pictures are shown one a cell


@dataclass(frozen=True)
class _Grid:
    """Where things stand on the contact sheet, in pixels."""

    row: str  # the axis of the rows
    rows: Sequence[Any]
    columns: Sequence[Mapping[str, Any]]
    cell: tuple[int, int]
    top: int
    caption: int

    @property
    def size(self) -> tuple[int, int]:
        width = MARGIN + LABEL + len(self.columns) * (self.cell[0] + GAP) + MARGIN - GAP
        height = self.top + len(self.rows) * (self.cell[1] + self.caption + GAP) + MARGIN
        return width, height

    def at(self, row: int, column: int) -> tuple[int, int]:
        return (
            MARGIN + LABEL + column * (self.cell[0] + GAP),
            self.top + row * (self.cell[1] + self.caption + GAP),
        )


def contact_sheet(result: StudyResult, *, heading: str = "") -> Image.Image:
    """All finished cells: the first axis (ratio) as rows, the others as columns; the best cell is framed.

    Each cell shows the same first few of its pictures, and its primary score with the standard error.
    """
    plan = result.plan
    row = next(iter(plan.axes))
    samples = {cell.cell.key: _sample(result, cell) for cell in result.cells}
    first = next(iter(samples.values()))
    others = columns(plan, row)
    levels = len(plan.axes) - 1
    grid = _Grid(row, plan.axes[row], others, first.size, MARGIN + 44 + 26 * max(levels, 1), 22 if plan.primary else 0)
    sheet = Image.new("RGB", _wide_enough(grid.size, heading), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 4), heading or _heading(result), font=font(20, bold=True), fill=INK)
    _column_labels(draw, grid, [name for name in plan.axes if name != row])
    _row_labels(draw, grid)
    best = result.best()
    for r, value in enumerate(grid.rows):
        for c, column in enumerate(others):
            cell = result.find({row: value, **column})
            x, y = grid.at(r, c)
            if cell is None:
                draw.rectangle((x, y, x + grid.cell[0] - 1, y + grid.cell[1] - 1), outline=LINE)
                continue
            sheet.paste(samples[cell.cell.key], (x, y))
            _caption(draw, grid, (x, y), result, cell, best=cell is best)
    return sheet


def _wide_enough(size: tuple[int, int], heading: str) -> tuple[int, int]:
    wanted = int(font(20, bold=True).getlength(heading)) if heading else 0
    return max(size[0], wanted + 2 * MARGIN, 420), size[1]


def _heading(result: StudyResult) -> str:
    models = result.plan.settings.models
    return " + ".join(name.rsplit("/", 1)[-1].removesuffix(".safetensors") for name in models.values())


def _sample(result: StudyResult, cell: CellResult) -> Image.Image:
    with Image.open(result.folder / cell.picture) as image:
        sheet = image.convert("RGB")
    count = result.plan.settings.pictures
    side = sheet.width // tiles_across(count)
    across = max(1, min(round(CELL_SIDE / side), tiles_across(count)))
    return tiles(untile(sheet, count, across * across), MAX_SIDE)


def _column_labels(draw: ImageDraw.ImageDraw, grid: _Grid, axes: Sequence[str]) -> None:
    """One line of labels per axis, the last one at each column, the ones before over the columns they hold for."""
    y = grid.top - 26 * len(axes)
    for level, axis in enumerate(axes):
        start = 0
        for c in range(1, len(grid.columns) + 1):
            here = [grid.columns[start][name] for name in axes[: level + 1]]
            if c < len(grid.columns) and [grid.columns[c][name] for name in axes[: level + 1]] == here:
                continue
            left, right = grid.at(0, start)[0], grid.at(0, c - 1)[0] + grid.cell[0]
            label = fit(AXES[axis].label(grid.columns[start][axis]), right - left, 15, bold=level == 0)
            draw.text(((left + right) / 2, y + 8), label, font=font(15, bold=level == 0), fill=INK, anchor="mm")
            if level < len(axes) - 1:
                draw.line((left, y + 20, right, y + 20), fill=LINE, width=2)
            start = c
        y += 26


def _row_labels(draw: ImageDraw.ImageDraw, grid: _Grid) -> None:
    axis = AXES[grid.row]
    draw.text((MARGIN, grid.top - 18), axis.words or axis.name, font=font(15), fill=SOFT, anchor="lm")
    for r, value in enumerate(grid.rows):
        middle = grid.at(r, 0)[1] + grid.cell[1] / 2
        label = fit(show(value), LABEL - 12, 20, bold=True)
        draw.text((MARGIN, middle), label, font=font(20, bold=True), fill=INK, anchor="lm")


def _caption(
    draw: ImageDraw.ImageDraw, grid: _Grid, at: tuple[int, int], result: StudyResult, cell: CellResult, *, best: bool
) -> None:
    x, y = at
    if best:
        draw.rectangle((x - 4, y - 4, x + grid.cell[0] + 3, y + grid.cell[1] + 3), outline=MARK, width=4)
    primary = result.plan.primary
    if primary is None:
        return
    value = cell.scores[primary.name]
    text = f"{value.mean:.3f} ± {value.error:.3f}"
    wide = font(13).getlength(f"{primary.name} {text}") <= grid.cell[0]
    text = ("best: " if best else f"{primary.name} " if wide else "") + text
    at_text = (x + grid.cell[0] / 2, y + grid.cell[1] + 13)
    draw.text(at_text, text, font=font(13, bold=best), fill=MARK if best else SOFT, anchor="mm")


def infotext(result: StudyResult) -> str:
    """The best cell's infotext (else the first one's), with the axes of the grid as one more quoted key."""
    cell = result.best() or result.cells[0]
    axes = "; ".join(f"{name}: {', '.join(show(v) for v in values)}" for name, values in result.plan.axes.items())
    quoted = axes.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'{cell.infotext}, Astolfo grid: "{quoted}"'
