"""The exhaustion table for people: one sheet of all pictures, a page with verdicts, a CSV, and text for a terminal."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from lib_astolfo.search.exhaustion import (
    BEST,
    BROKEN,
    DOUBT,
    DRAWN,
    GOOD,
    WORSE,
    Exhaustion,
    Model,
    Row,
    as_dict,
    reading_words,
)
from lib_astolfo.sheets.drawing import (
    INK,
    LINE,
    MARGIN,
    MARK,
    PAPER,
    SOFT,
    fit,
    font,
    save,
    tiles,
    tiles_across,
    untile,
)

PAGE, SHEET, TABLE, FIGURES = "exhaustion.html", "exhaustion.png", "exhaustion.csv", "exhaustion.json"
TITLE = "Models under every prediction and uncond"
SIDE, NAME, GAP = 176, 300, 10
STYLE = Path(__file__).with_name("report.css")
MARKS = {BEST: "best", GOOD: "good", DOUBT: "doubt", WORSE: "worse", BROKEN: "broken"}
COLOURS = {BEST: "#009e73", GOOD: "#56b4e9", DOUBT: "#e69f00", WORSE: "#98a2b3", BROKEN: MARK}
_STYLE = """
table.exhaustion td { vertical-align: top; text-align: left; white-space: normal; min-width: 150px; max-width: 230px }
table.exhaustion th { text-align: left; white-space: normal; vertical-align: top }
table.exhaustion img { display: block; width: 100%; max-width: 200px; border: 3px solid transparent; }
td.best img { border-color: #009e73 } td.good img { border-color: #56b4e9 } td.doubt img { border-color: #e69f00 }
td.broken img { border-color: #d55e00 }
td.none { opacity: .7; font-style: italic }
"""


def write(table: Exhaustion) -> dict[str, str]:
    """Write all four; kind to file name."""
    folder = table.folder
    folder.mkdir(parents=True, exist_ok=True)
    first = next((row.cell.infotext for row in table.rows if row.cell is not None), "")
    image = sheet(table)
    save(image, folder / SHEET, first)
    figures = json.dumps(as_dict(table), ensure_ascii=False, indent=1)
    for name, text in ((PAGE, html(table, image)), (TABLE, table_text(table)), (FIGURES, figures)):
        partial = folder / f".{name}.part"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    return {"sheet": SHEET, "report": PAGE, "csv": TABLE, "json": FIGURES}


def lines(model: Model) -> list[list[Row]]:
    """A model's rows by prediction, in their order."""
    found: dict[str, list[Row]] = {}
    for row in model.rows:
        found.setdefault(row.prediction, []).append(row)
    return list(found.values())


def unconds(table: Exhaustion) -> list[str]:
    """The columns."""
    return list(dict.fromkeys(row.uncond for row in table.rows))


def sheet(table: Exhaustion) -> Image.Image:
    """One picture: a line for each model and prediction, a column for each uncond, frames in the verdicts' colours."""
    across, down = unconds(table), [(model, line) for model in table.models for line in lines(model)]
    top = MARGIN + 66
    places = list(itertools.accumulate((_height(line) for _, line in down), initial=top))
    whole = Image.new("RGB", (MARGIN + NAME + len(across) * (SIDE + GAP) + MARGIN, places[-1] + 8), PAPER)
    draw = ImageDraw.Draw(whole)
    draw.text((MARGIN, MARGIN - 6), TITLE, font=font(20, bold=True), fill=INK)
    for column, words in enumerate(across):
        x = MARGIN + NAME + column * (SIDE + GAP)
        draw.text((x, top - 24), fit(words, SIDE, 15, bold=True), font=font(15, bold=True), fill=INK)
    _legend(draw, whole.width)
    before = ""
    for number, (model, line) in enumerate(down):
        y = places[number]
        if model.name != before:
            draw.line((MARGIN, y - 4, whole.width - MARGIN, y - 4), fill=LINE, width=2)
        _line_name(draw, (MARGIN, y), model, line[0], first=model.name != before)
        before = model.name
        for row in line:
            _cell(whole, (MARGIN + NAME + across.index(row.uncond) * (SIDE + GAP), y), row, table)
    return whole


def _height(line: Sequence[Row]) -> int:
    """Of a line in pixels; one without pictures holds its reasons alone."""
    if any(row.cell is not None for row in line):
        return SIDE + 40
    return 34 + 16 * max(len(_reason(row)) for row in line)


def _reason(row: Row) -> list[str]:
    return _wrapped(f"{row.status}: {row.reason}", SIDE - 16, 12)[:9]


def _legend(draw: ImageDraw.ImageDraw, width: int) -> None:
    x = width - MARGIN
    for level in reversed(MARKS):
        x -= int(font(13).getlength(MARKS[level])) + 28
        draw.rectangle((x, MARGIN, x + 12, MARGIN + 12), outline=COLOURS[level], width=4)
        draw.text((x + 17, MARGIN - 2), MARKS[level], font=font(13), fill=SOFT)


def _line_name(draw: ImageDraw.ImageDraw, at: tuple[int, int], model: Model, row: Row, *, first: bool) -> None:
    x, y = at
    if first:
        draw.text((x, y), fit(model.name, NAME - 12, 15, bold=True), font=font(15, bold=True), fill=INK)
    draw.text((x, y + 22), fit(f"as {row.prediction}", NAME - 12, 15), font=font(15), fill=INK)
    words = reading_words(row, model.probe)
    for number, part in enumerate(_wrapped(words, NAME - 12, 12)):
        draw.text((x, y + 46 + 16 * number), part, font=font(12), fill=SOFT)


def _wrapped(words: str, width: int, size: int) -> list[str]:
    found: list[str] = []
    for word in words.split():
        longer = f"{found[-1]} {word}" if found else word
        if found and font(size).getlength(longer) <= width:
            found[-1] = longer
        else:
            found.append(word)
    return found


def _cell(whole: Image.Image, at: tuple[int, int], row: Row, table: Exhaustion) -> None:
    draw, (x, y) = ImageDraw.Draw(whole), at
    if row.cell is None:
        draw.rectangle((x, y, x + SIDE - 1, y + 18 + 16 * len(_reason(row))), outline=LINE)
        for number, part in enumerate(_reason(row)):
            draw.text((x + 8, y + 8 + 16 * number), part, font=font(12), fill=SOFT)
        return
    picture = pictures(table, row)
    picture.thumbnail((SIDE, SIDE))
    whole.paste(picture, (x, y))
    colour = COLOURS.get(row.level)
    if colour is not None and row.level != WORSE:
        draw.rectangle((x - 3, y - 3, x + picture.width + 2, y + picture.height + 2), outline=colour, width=3)
    words = _short(row, table)
    draw.text((x, y + SIDE + 5), fit(words, SIDE, 12), font=font(12), fill=MARK if row.level == BROKEN else SOFT)


def _short(row: Row, table: Exhaustion) -> str:
    if row.level == BROKEN:
        return row.verdict
    if table.primary is None or row.cell is None or table.primary.name not in row.cell.scores:
        return ""
    value = row.cell.scores[table.primary.name]
    return f"{MARKS.get(row.level, '')} {value.mean:.3f} ± {value.error:.3f}".strip()


def pictures(table: Exhaustion, row: Row, shown: int = 4) -> Image.Image:
    """The first pictures of a row, at least 176 pixels wide so that small ones can be seen."""
    with Image.open(table.folder / row.picture) as image:
        drawn = image.convert("RGB")
    made = tiles(untile(drawn, table.pictures, shown), drawn.width // tiles_across(table.pictures))
    if made.width < SIDE:
        made = made.resize((SIDE, SIDE * made.height // made.width), Image.Resampling.NEAREST)
    return made


def table_text(table: Exhaustion) -> str:
    """A line of CSV for every combination."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    scores = list(table.scores)
    head = ["model", "prediction", "uncond", "status", "level", "verdict", "probe"]
    writer.writerow([*head, *(f"{name}{more}" for name in scores for more in ("", " error")), "picture"])
    for model in table.models:
        for row in model.rows:
            values = {} if row.cell is None else row.cell.scores
            figures = [
                f"{getattr(values[name], part):.6g}" if name in values else ""
                for name in scores
                for part in ("mean", "error")
            ]
            words = [row.model, row.prediction, row.uncond, row.status, row.level, row.verdict or row.reason]
            writer.writerow([*words, reading_words(row, model.probe), *figures, row.picture])
    return buffer.getvalue()


def html(table: Exhaustion, image: Image.Image) -> str:
    """One page with nothing from another place: every verdict stands under its pictures."""
    counts = table.counts()
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    body = "".join(_section(table, model) for model in table.models)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE.read_text(encoding='utf-8')}{_STYLE}</style></head>\n<body><main>\n"
        f'<h1>{TITLE}</h1>\n<p class="sub">{len(table.models)} models; combinations: {escape(said)}; '
        f"{table.pictures} pictures each, the same prompts and seeds in all"
        f"{'; stopped early' if table.stopped else ''}.</p>\n{body}"
        '<section><h2>All pictures</h2><div class="scroll">'
        f'<img alt="all pictures" src="{_jpeg(image)}"></div></section>'
        "</main></body></html>\n"
    )


def _section(table: Exhaustion, model: Model) -> str:
    across = unconds(table)
    head = "".join(f"<th>{escape(words)}</th>" for words in across)
    body = "".join(_table_row(table, model, line, across) for line in lines(model))
    items = "".join(f"<li><p>{escape(words)}</p></li>" for words in probe_words(model))
    return (
        f'<section><h2>{escape(model.name)}</h2><p class="note">it says: {escape(model.said)}</p>'
        f'<ul class="verdict">{items}</ul><div class="scroll"><table class="exhaustion">'
        f"<thead><tr><th>read as</th>{head}</tr></thead><tbody>{body}</tbody></table></div></section>\n"
    )


def probe_words(model: Model) -> list[str]:
    """What the probe found, in sentences."""
    if model.probe is None:
        return [model.note] if model.note else []
    found = [model.probe["verdict"], model.probe.get("disagreement") or ""]
    uncond = model.probe.get("uncond")
    if uncond:
        gap = next((level["gap"] for level in uncond["levels"] if level["sigma"] == 3.0), None)
        words = f" Gap between zero and null at σ 3: {gap['mean']:.3f} ± {gap['error']:.3f}." if gap else ""
        found.append(f"{uncond['words']}{words}")
    return [words for words in found if words]


def _table_row(table: Exhaustion, model: Model, line: Sequence[Row], across: Sequence[str]) -> str:
    by_uncond = {row.uncond: row for row in line}
    words = reading_words(line[0], model.probe)
    head = f"<th>{escape(line[0].prediction)}<br><small>{escape(words)}</small></th>"
    return f"<tr>{head}{''.join(_table_cell(table, by_uncond.get(name)) for name in across)}</tr>"


def _table_cell(table: Exhaustion, row: Row | None) -> str:
    if row is None:
        return "<td></td>"
    if row.cell is None:
        return f'<td class="none">{escape(row.status)}: {escape(row.reason)}</td>'
    scores = "; ".join(
        f"{name} {value.mean:.3f} ± {value.error:.3f}"
        for name, value in row.cell.scores.items()
        if name in table.scores and not table.scores[name].alarm
    )
    shown = _jpeg(pictures(table, row))
    return (
        f'<td class="{escape(row.level)}"><img alt="{escape(row.cell.cell.label)}" src="{shown}">'
        f"<b>{escape(row.level)}</b>: {escape(row.verdict)}<br><small>{escape(scores)}</small></td>"
    )


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", quality=88, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def terminal(result: Mapping[str, Any]) -> str:
    """The table as text."""
    found = []
    for model in result["models"]:
        found.append(f"{model['name']} (it says: {model['said']})")
        probe = model["probe"]
        found += [f"  {probe['verdict']}"] if probe else [f"  {model['note']}"] if model["note"] else []
        for row in model["rows"]:
            state = row["level"] if row["status"] == DRAWN else row["status"]
            words = row["verdict"] if row["status"] == DRAWN else row["reason"]
            found.append(f"  {row['prediction']:22} {row['uncond']:10} {state:9} {words}")
    found.append("")
    return "\n".join([*found, *(f"{kind:8} {Path(result['folder']) / name}" for kind, name in result["files"].items())])
