"""Contact sheets: the pictures of one cell, and all cells with labelled axes, as PNG with infotext."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from lib_astolfo.search.axes import ALIASES, AXES, Axis, show
from lib_astolfo.search.plan import Plan, title
from lib_astolfo.sheets.drawing import INK, LABEL, LINE, MARGIN, MARK, MAX_SIDE, PAPER, SOFT, fit, font
from lib_astolfo.sheets.drawing import keep as keep
from lib_astolfo.sheets.drawing import save as save
from lib_astolfo.sheets.drawing import tiles as tiles
from lib_astolfo.sheets.drawing import tiles_across as tiles_across
from lib_astolfo.sheets.drawing import untile as untile

if TYPE_CHECKING:
    from lib_astolfo.search.store import CellResult
    from lib_astolfo.search.study import StudyResult

CELL_SIDE = 192  # about the side of a cell in the contact sheet; larger pictures are shown one a cell
WIDEST_LABEL = 280
MAX_WIDTH = 12_000  # of the cells of a sheet in pixels; where more columns than that allows stand, they are smaller


@dataclass(frozen=True)
class _Grid:
    """Where things stand on the contact sheet, in pixels."""

    row: str  # the axis of the rows
    rows: Sequence[Any]
    columns: Sequence[Mapping[str, Any]]
    cell: tuple[int, int]
    top: int
    left: int
    caption: int
    margin: int

    @property
    def size(self) -> tuple[int, int]:
        right, bottom = self.at(len(self.rows), len(self.columns))
        return right - self.margin + MARGIN, bottom - self.margin + MARGIN

    def at(self, row: int, column: int) -> tuple[int, int]:
        return (
            self.left + column * (self.cell[0] + self.margin),
            self.top + row * (self.cell[1] + self.caption + self.margin),
        )


def sides(plan: Plan) -> tuple[str, str]:
    """The axes of the rows and of the columns: as the settings say, else the first that vary; "" for no columns."""
    varying = [name for name, values in plan.axes.items() if len(values) > 1] or list(plan.axes)
    wanted_rows, wanted_columns = (ALIASES.get(name, name) for name in (plan.settings.rows, plan.settings.columns))
    known = [name for name in (*varying, *plan.axes) if name != wanted_columns]
    row = wanted_rows if wanted_rows in plan.axes else known[0] if known else next(iter(plan.axes))
    rest = [name for name in varying if name != row]
    column = wanted_columns if wanted_columns in plan.axes and wanted_columns != row else rest[0] if rest else ""
    return row, column


def slices(plan: Plan) -> list[dict[str, Any]]:
    """The values of the axes that are neither rows nor columns, once for each sub-grid; none where one holds all."""
    rest = {name: values for name, values in plan.axes.items() if name not in sides(plan)}
    found = [dict(zip(rest, values, strict=True)) for values in itertools.product(*rest.values())]
    return found if len(found) > 1 else []


def contact_sheet(result: StudyResult, *, heading: str = "", at: Mapping[str, Any] | None = None) -> Image.Image:
    """All finished cells with labelled axes, those of ``at`` alone if that is given; the best cell is framed.

    Rows and columns are those of ``sides``; the axes besides are columns around the columns. Each cell shows the same
    first few of its pictures, and its primary score with the standard error.
    """
    plan, held = result.plan, dict(at or {})
    row, column = sides(plan)
    around = [name for name in plan.axes if name not in (row, column, *held)]
    levels = [*around, *([column] if column else [])]
    others = [
        dict(zip(levels, values, strict=True)) for values in itertools.product(*(plan.axes[name] for name in levels))
    ]
    shown = [cell for cell in result.cells if all(cell.cell.values[name] == value for name, value in held.items())]
    samples = {cell.cell.key: _sample(result, cell, len(others)) for cell in shown}
    size = next(iter(samples.values())).size if samples else (CELL_SIDE, CELL_SIDE)
    grid = _grid(plan, (row, others), size, len(levels))
    heading = heading or _heading(result, held)
    sheet = Image.new("RGB", _wide_enough(grid.size, heading) if plan.settings.legend else grid.size, PAPER)
    if plan.settings.legend:
        draw = ImageDraw.Draw(sheet)
        draw.text((MARGIN, MARGIN - 4), heading, font=font(20, bold=True), fill=INK)
        _column_labels(draw, grid, levels)
        _row_labels(draw, grid)
    _cells(sheet, grid, result, samples, held)
    return sheet


def _grid(plan: Plan, axes: tuple[str, Sequence[Mapping[str, Any]]], cell: tuple[int, int], levels: int) -> _Grid:
    row, others = axes
    legend, margin = plan.settings.legend, plan.settings.margin
    top = MARGIN + 44 + 26 * max(levels, 1) if legend else MARGIN
    left = MARGIN + _label_width(AXES[row], plan.axes[row]) if legend else MARGIN
    return _Grid(row, plan.axes[row], others, cell, top, left, 22 if plan.primary and legend else 0, margin)


def _cells(
    sheet: Image.Image, grid: _Grid, result: StudyResult, samples: Mapping[str, Image.Image], held: Mapping[str, Any]
) -> None:
    draw, best = ImageDraw.Draw(sheet), result.best()
    for r, value in enumerate(grid.rows):
        for c, column in enumerate(grid.columns):
            cell = result.find({grid.row: value, **column, **held})
            x, y = grid.at(r, c)
            if cell is None:
                draw.rectangle((x, y, x + grid.cell[0] - 1, y + grid.cell[1] - 1), outline=LINE)
                continue
            sheet.paste(samples[cell.cell.key], (x, y))
            if result.plan.settings.legend:
                _caption(draw, grid, (x, y), result, cell, best=cell is best)


def _wide_enough(size: tuple[int, int], heading: str) -> tuple[int, int]:
    wanted = int(font(20, bold=True).getlength(heading)) if heading else 0
    return max(size[0], wanted + 2 * MARGIN, 420), size[1]


def _heading(result: StudyResult, held: Mapping[str, Any]) -> str:
    models = result.plan.settings.models
    names = " + ".join(name.rsplit("/", 1)[-1].removesuffix(".safetensors") for name in models.values())
    return f"{names}: {title(held)}" if held else names


def _sample(result: StudyResult, cell: CellResult, columns: int) -> Image.Image:
    """The first pictures of a cell, smaller where there are many columns."""
    with Image.open(result.folder / cell.picture) as image:
        sheet = image.convert("RGB")
    count = result.plan.settings.pictures
    side = sheet.width // tiles_across(count)
    across = max(1, min(round(CELL_SIDE / side), tiles_across(count)))
    made = tiles(untile(sheet, count, across * across), MAX_SIDE)
    widest = MAX_WIDTH // max(columns, 1)
    if made.width > widest:
        made = made.resize((widest, max(1, round(made.height * widest / made.width))), Image.Resampling.LANCZOS)
    return made


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


def _label_width(axis: Axis, values: Sequence[Any]) -> int:
    """Of the rows' labels in pixels: wider where names of files would else look alike."""
    wanted = max(font(12, bold=True).getlength(axis.short(value)) for value in values)
    return int(min(max(LABEL, wanted + 16), WIDEST_LABEL))


def _row_labels(draw: ImageDraw.ImageDraw, grid: _Grid) -> None:
    axis = AXES[grid.row]
    draw.text((MARGIN, grid.top - 18), axis.words or axis.name, font=font(15), fill=SOFT, anchor="lm")
    for r, value in enumerate(grid.rows):
        middle = grid.at(r, 0)[1] + grid.cell[1] / 2
        words = axis.short(value)
        room = grid.left - MARGIN - 12
        size = next((size for size in (20, 15) if font(size, bold=True).getlength(words) <= room), 12)
        label = fit(words, room, size, bold=True)
        draw.text((MARGIN, middle), label, font=font(size, bold=True), fill=INK, anchor="lm")


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
    draw.text(
        at_text,
        fit(text, grid.cell[0] + grid.margin, 13),
        font=font(13, bold=best),
        fill=MARK if best else SOFT,
        anchor="mm",
    )


def infotext(result: StudyResult, at: Mapping[str, Any] | None = None) -> str:
    """The best cell's infotext (else the first one's), with the axes of the grid as one more quoted key.

    ``at``: of a sub-grid, its cells' alone.
    """
    held = dict(at or {})
    cells = [cell for cell in result.cells if all(cell.cell.values[name] == value for name, value in held.items())]
    cell = result.best(cells) or (cells or result.cells)[0]
    shown = {name: (held[name],) if name in held else values for name, values in result.plan.axes.items()}
    axes = "; ".join(f"{name}: {', '.join(show(v) for v in values)}" for name, values in shown.items())
    quoted = axes.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'{cell.infotext}, Astolfo grid: "{quoted}"'
