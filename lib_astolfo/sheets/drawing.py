"""Drawing of contact sheets: pictures in rows, letters, PNG files with infotext."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageFont

INK, SOFT, LINE, PAPER, MARK = "#1d2330", "#667085", "#d5dae3", "#ffffff", "#d55e00"
MAX_SIDE = 4096  # of the sheet of one cell, in pixels
GAP, MARGIN, LABEL = 10, 24, 88


def tiles(images: Sequence[Image.Image], longest: int) -> Image.Image:
    """The images in rows from the left, as square an arrangement as their number allows, each at most ``longest``."""
    across = tiles_across(len(images))
    width, height = images[0].size
    scale = min(1.0, longest / max(width, height), MAX_SIDE / (across * max(width, height)))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    sheet = Image.new("RGB", (across * size[0], math.ceil(len(images) / across) * size[1]), PAPER)
    for i, image in enumerate(images):
        tile = image.convert("RGB")
        tile = tile if tile.size == size else tile.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(tile, ((i % across) * size[0], (i // across) * size[1]))
    return sheet


def tiles_across(count: int) -> int:
    """How many images stand in a row of :func:`tiles`."""
    return math.ceil(math.sqrt(count))


def untile(sheet: Image.Image, count: int, first: int) -> list[Image.Image]:
    """The first ``first`` of the ``count`` images in a sheet made by :func:`tiles`."""
    across = tiles_across(count)
    width, height = sheet.width // across, sheet.height // math.ceil(count / across)
    boxes = [((i % across) * width, (i // across) * height) for i in range(min(first, count))]
    return [sheet.crop((x, y, x + width, y + height)) for x, y in boxes]


def save(image: Image.Image, path: Path, infotext: str) -> Path:
    """Write a PNG with the WebUI's ``parameters`` chunk; the file is complete or not there."""
    from PIL.PngImagePlugin import PngInfo

    path.parent.mkdir(parents=True, exist_ok=True)
    chunk = PngInfo()
    chunk.add_text("parameters", infotext)
    partial = path.with_name(f".{path.name}.part")
    image.save(partial, format="PNG", pnginfo=chunk)
    partial.replace(path)
    return path


def keep(content: bytes, path: Path) -> Path:
    """Write a PNG that was drawn elsewhere; the file is complete or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)
    return path


def font(size: int, *, bold: bool = False) -> Any:
    """A font with Latin, Greek and Cyrillic letters: matplotlib's where it is, else Pillow's own."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    try:
        import matplotlib

        return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
    except (ImportError, OSError):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            return ImageFont.load_default()


def fit(text: str, width: float, size: int, *, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it is wider than ``width`` pixels."""
    face = font(size, bold=bold)
    if face.getlength(text) <= width:
        return text
    while len(text) > 1 and face.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
