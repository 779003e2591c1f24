"""Small pictures of the data of a training, one sheet for each bucket, cut as they are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

    from lib_astolfo.training.data.scan import Item, Scanned
    from lib_astolfo.training.data.settings import DataSettings

HEIGHT = 72  # pixels of a small picture
MOST = 240  # of them in all
LEAST = 4  # of a bucket
COLUMNS = 12
WORDS = 300  # letters of a caption that are told
Progress = Callable[[int, int, str], None]


def write(
    folder: Path, settings: DataSettings, scanned: Scanned, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Write ``data-<width>x<height>.jpg`` for each bucket into the folder.

    Returns for each its size, file, columns and rows, the size of a small picture, and name, caption and repeats of
    each; pictures that cannot be opened any more are left out. ``progress``: between pictures; may raise Stopped.
    """
    buckets: dict[tuple[int, int], list[Item]] = {}
    for item in scanned.items:
        buckets.setdefault(item.fit.bucket, []).append(item)
    share = max(LEAST, MOST // max(1, len(buckets)))
    chosen = {size: items[:: max(1, len(items) // share)][:share] for size, items in sorted(buckets.items())}
    total, done, made = sum(map(len, chosen.values())), 0, []
    for size, items in chosen.items():
        small: list[tuple[Item, Image]] = []
        for item in items:
            if progress is not None:
                progress(done, total, f"small pictures: {item.path.name}")
            done += 1
            try:
                small.append((item, _small(settings, item)))
            except BadInput:
                continue
        if small:
            made.append(_sheet(folder, size, small, len(buckets[size])))
    return made


def _small(settings: DataSettings, item: Item) -> Image:
    """The middle of the picture, as a centre crop takes it."""
    from PIL import Image as pil

    from lib_astolfo.training.data.pictures import load

    wide, high = item.fit.bucket
    picture, _ = load(item.path, settings.pictures)
    resized = item.fit.resized
    x, y = (resized[0] - wide) / 2 / resized[0], (resized[1] - high) / 2 / resized[1]
    box = (x * picture.width, y * picture.height, (1 - x) * picture.width, (1 - y) * picture.height)
    return picture.resize(_cell(item.fit.bucket), pil.Resampling.BICUBIC, box=box)


def _cell(bucket: tuple[int, int]) -> tuple[int, int]:
    return max(8, round(HEIGHT * bucket[0] / bucket[1])), HEIGHT


def _sheet(folder: Path, size: tuple[int, int], small: Sequence[tuple[Item, Image]], count: int) -> dict[str, Any]:
    from PIL import Image as pil

    from lib_astolfo.training.data.report import shown

    cell, columns = _cell(size), min(COLUMNS, len(small))
    rows = -(-len(small) // columns)
    sheet = pil.new("RGB", (columns * cell[0], rows * cell[1]), (128, 128, 128))
    for number, (_, picture) in enumerate(small):
        sheet.paste(picture, (number % columns * cell[0], number // columns * cell[1]))
    folder.mkdir(parents=True, exist_ok=True)
    name = f"data-{size[0]}x{size[1]}.jpg"
    sheet.save(folder / name, quality=82)
    told = [
        {"name": shown(item.path), "caption": item.wording.text[:WORDS], "repeats": item.repeats} for item, _ in small
    ]
    return {
        "size": list(size),
        "file": name,
        "columns": columns,
        "rows": rows,
        "cell": list(cell),
        "pictures": count,
        "items": told,
    }
