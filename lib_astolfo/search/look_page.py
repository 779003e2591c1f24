"""The page on which a study's pictures are looked at: served, or as one file with everything inside."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from lib_astolfo.search.look import view_of
from lib_astolfo.search.study import StudyResult

FOLDER = Path(__file__).with_name("page")
PAGE, STYLE = "look.html", "look.css"
SCRIPTS = ("look_base.js", "look_grid.js", "look_compare.js", "look_votes.js", "look_main.js")
LOOK = "look.html"  # the file in the study's folder
MARK = "<!--parts-->"
LARGEST = 48 * 1024 * 1024  # bytes of pictures in the file as they are; beyond it they are made smaller
SMALLEST = 256  # … down to this longest side
QUALITY = 88


def served() -> str:
    """The page as ``GET /studies/{study}/look`` has it: style and scripts come from ``../../look/``."""
    style = f'<link rel="stylesheet" href="../../look/{STYLE}">'
    scripts = "\n".join(f'<script src="../../look/{name}" defer></script>' for name in SCRIPTS)
    return _text(PAGE).replace(MARK, f"{style}\n{scripts}")


def listing(studies: Sequence[str]) -> str:
    """A page of links, for a folder with several studies in it."""
    links = "".join(f'<li><a href="../{quote(name, safe="")}/look">{escape(name)}</a></li>' for name in studies)
    style = f'<link rel="stylesheet" href="../../look/{STYLE}">'
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Studies</title>{style}</head>'
    return f"{head}<body><main><h1>Studies</h1><ul>{links}</ul></main></body></html>\n"


def part(name: str) -> Path | None:
    """The file of a script or the style; None for any other name."""
    return FOLDER / name if name in (STYLE, *SCRIPTS) else None


def offline(result: StudyResult, *, largest: int = LARGEST) -> str:
    """The page with style, scripts, cells and pictures inside: it asks for nothing, wherever it is opened.

    Pictures of more than ``largest`` bytes in all are made smaller, as JPEG, and the page says so.
    """
    pictures, reduced = _pictures(result, largest)
    data = {"view": view_of(result), "pictures": pictures, "reduced": reduced}
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    scripts = "".join(f"<script>\n{_text(name)}</script>\n" for name in SCRIPTS)
    page = _text(PAGE).replace(MARK, f"<style>\n{_text(STYLE)}</style>")
    end = f'<script type="application/json" id="data">{text}</script>\n{scripts}</body>'
    return page.replace("</body>", end)


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _pictures(result: StudyResult, largest: int) -> tuple[dict[str, str], bool]:
    """Name to ``data:`` address of every cell's sheet, and whether they were made smaller."""
    paths = {one.picture: result.folder / one.picture for one in result.cells}
    total = sum(path.stat().st_size for path in paths.values())
    if total <= largest:
        return {name: _data("image/png", path.read_bytes()) for name, path in paths.items()}, False
    each = largest / max(len(paths), 1)
    return {name: _data("image/jpeg", _smaller(path, each)) for name, path in paths.items()}, True


def _smaller(path: Path, largest: float) -> bytes:
    """A picture as JPEG of at most so many bytes, or of ``SMALLEST`` pixels."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    while True:
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=QUALITY)
        if buffer.tell() <= largest or max(picture.size) <= SMALLEST:
            return buffer.getvalue()
        scale = max((largest / buffer.tell()) ** 0.5, SMALLEST / max(picture.size))
        size = (max(1, int(picture.width * scale * 0.98)), max(1, int(picture.height * scale * 0.98)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
