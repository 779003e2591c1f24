"""The contact sheet of the previews: a row a time, growing downwards, a column for each picture that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from lib_astolfo.sheets.drawing import GAP, INK, LABEL, LINE, MARGIN, PAPER, SOFT, fit, font, save
from lib_astolfo.training.watch.previews import SHEET, Album, Cell, cells

CELL = 160  # longest side of a picture on the sheet
LINE_HEIGHT = 24


def write_sheet(album: Album) -> Path:
    """Draw the sheet anew from the pictures in the album's folder, and return its path."""
    return save(draw_sheet(album), album.folder / SHEET, f"Astolfo previews: steps {_steps(album)}")


def draw_sheet(album: Album) -> Image.Image:
    """The base, then every time that is shown."""
    columns, steps = cells(album.settings), album.shown()
    one = _picture(album.base()[0])
    cell = one.size if one is not None else (CELL, CELL)
    axes = _axes(album, columns)
    top = MARGIN + 36 + LINE_HEIGHT * len(axes)
    width = max(2 * MARGIN + LABEL + len(columns) * (cell[0] + GAP) - GAP, 420)
    sheet = Image.new("RGB", (width, top + (len(steps) + 1) * (cell[1] + GAP) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 4), "Previews", font=font(20, bold=True), fill=INK)
    _column_labels(draw, axes, cell[0], top)
    base = album.base()
    rows = [("base", [base[index % len(base)] for index in range(len(columns))])]
    rows += [(str(step), [album.of(step) / column.file(album.settings) for column in columns]) for step in steps]
    for number, (label, paths) in enumerate(rows):
        y = top + number * (cell[1] + GAP)
        text = fit(label, LABEL - 12, 18, bold=True)
        draw.text((MARGIN, y + cell[1] / 2), text, font=font(18, bold=True), fill=INK, anchor="lm")
        for column, path in enumerate(paths):
            _paste(sheet, path, (MARGIN + LABEL + column * (cell[0] + GAP), y), cell)
    draw.text((MARGIN, top - 14), "step", font=font(15), fill=SOFT, anchor="lm")
    return sheet


def _steps(album: Album) -> str:
    return ", ".join(map(str, album.shown())) or "none"


def _picture(path: Path) -> Image.Image | None:
    """The picture, at most ``CELL`` long; None if it is not there."""
    if not path.is_file():
        return None
    with Image.open(path) as file:
        image = file.convert("RGB")
    image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return image


def _paste(sheet: Image.Image, path: Path, at: tuple[int, int], cell: tuple[int, int]) -> None:
    image = _picture(path)
    if image is None:
        ImageDraw.Draw(sheet).rectangle((*at, at[0] + cell[0] - 1, at[1] + cell[1] - 1), outline=LINE)
    else:
        sheet.paste(image, at)


def _axes(album: Album, columns: Sequence[Cell]) -> list[list[str]]:
    """A line of labels for each axis, the ratio's always, the others' where there is more than one value."""
    settings = album.settings
    lines = [[f"ratio {column.ratio:g}" for column in columns]]
    if len(settings.unconds) > 1:
        lines.append([f"uncond {settings.unconds[column.uncond].describe()}" for column in columns])
    if len(settings.prompts) > 1:
        lines.append([settings.prompts[column.prompt] for column in columns])
    if len(settings.seeds) > 1:
        lines.append([f"seed {column.seed}" for column in columns])
    return lines


def _column_labels(draw: ImageDraw.ImageDraw, axes: Sequence[Sequence[str]], width: int, top: int) -> None:
    """Each axis over the columns that its value holds for."""
    for level, labels in enumerate(axes):
        y, start = top - LINE_HEIGHT * (len(axes) - level), 0
        for end in range(1, len(labels) + 1):
            same = end < len(labels) and all(axis[end] == axis[start] for axis in axes[: level + 1])
            if same:
                continue
            left = MARGIN + LABEL + start * (width + GAP)
            right = MARGIN + LABEL + end * (width + GAP) - GAP
            text = fit(labels[start], right - left, 14, bold=level == 0)
            draw.text(((left + right) / 2, y + 8), text, font=font(14, bold=level == 0), fill=INK, anchor="mm")
            if level < len(axes) - 1:
                draw.line((left, y + 18, right, y + 18), fill=LINE, width=2)
            start = end
