"""The files that a study leaves in its folder: sheets, curves, surfaces, tables, the winner's recipe, the report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_astolfo.search import curves, look_page, outcome, report, sheet, surface_figure
from lib_astolfo.search.axes import AXES, show
from lib_astolfo.search.plan import title
from lib_astolfo.search.report import Extra
from lib_astolfo.search.study import StudyResult
from lib_astolfo.search.verdict import Verdict

SHEET, CURVES, REPORT, RECIPE = "sheet.png", "curves.png", "report.html", "winner-recipe.yaml"
SURFACE, TABLE, FIGURES, SHEETS = "surface.png", "cells.csv", "report.json", "sheets"


def write(result: StudyResult, verdict: Verdict, extra: Extra | None = None) -> dict[str, str]:
    """Write all of them; kind to file name. Sub-grids are ``sheet 01 zero uncond`` and so on."""
    folder, extra, files = result.folder, extra or Extra(), {}
    whole = sheet.contact_sheet(result)
    sheet.save(whole, folder / SHEET, sheet.infotext(result))
    files["sheet"] = SHEET
    files |= sub_grids(result)
    drawn = surface_figure.png(result)
    for kind, name, content in _figures(result, drawn):
        _write(folder / name, content)
        files[kind] = name
    text = outcome.recipe_text(result)
    if text:
        _write(folder / RECIPE, text.encode("utf-8"))
        files["recipe"] = RECIPE
    _write(folder / look_page.LOOK, look_page.offline(result).encode("utf-8"))
    files["look"] = look_page.LOOK
    page = report.html(result, verdict, replace(extra, recipe=extra.recipe or text), contact=whole, surface=drawn)
    for kind, name, words in (("report", REPORT, page), ("csv", TABLE, table_text(result))):
        _write(folder / name, words.encode("utf-8"))
        files[kind] = name
    files["json"] = FIGURES
    found = outcome.as_dict(result, verdict, files, *extra.before)
    _write(folder / FIGURES, json.dumps(found, ensure_ascii=False, indent=1, allow_nan=False).encode("utf-8"))
    return files


def _figures(result: StudyResult, drawn: bytes) -> Iterator[tuple[str, str, bytes]]:
    if "ratio" in result.plan.axes and result.plan.scores:
        yield "curves", CURVES, curves.png(result)
    if drawn:
        yield "surface", SURFACE, drawn


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)


def sub_grids(result: StudyResult) -> dict[str, str]:
    """A sheet for each combination of the axes besides rows and columns, with the infotext of its best cell."""
    files: dict[str, str] = {}
    if not result.plan.settings.sub_grids:
        return files
    for number, held in enumerate(sheet.slices(result.plan), 1):
        if not any(_is_at(cell.cell.values, held) for cell in result.cells):
            continue
        words = title(held)
        name = f"{SHEETS}/{number:02d}-{safe(words)}.png"
        drawn = sheet.contact_sheet(result, at=held)
        sheet.save(drawn, result.folder / name, sheet.infotext(result, held))
        files[f"sheet {number:02d} {words}"] = name
    return files


def _is_at(values: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    return all(values[name] == value for name, value in held.items())


def safe(words: str) -> str:
    """Words as a part of a file's name."""
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-.") else "_" for sign in words)
    return kept.replace(",", "")[:80].strip("._") or "all"


def table_text(result: StudyResult) -> str:
    """Every cell as a line of CSV: its values, each score with its standard error, its seconds and its picture."""
    buffer, plan = io.StringIO(), result.plan
    writer = csv.writer(buffer, lineterminator="\n")
    scores = [f"{name}{more}" for name in plan.scores for more in ("", " error")]
    writer.writerow([*(AXES[name].name for name in plan.axes), *scores, "seconds", "picture"])
    for cell in result.cells:
        figures = [
            "" if (value := cell.scores.get(name)) is None else f"{getattr(value, part):.6g}"
            for name in plan.scores
            for part in ("mean", "error")
        ]
        values = [show(cell.cell.values[name]) for name in plan.axes]
        writer.writerow([*values, *figures, f"{cell.seconds:.2f}", cell.picture])
    return buffer.getvalue()
