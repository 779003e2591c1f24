"""The table of a tagger's tags: name and category of each of its outputs, in their order."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from lib_astolfo.errors import BadInput
from lib_astolfo.training.captioning.settings import CATEGORIES

TABLE = "selected_tags.csv"
_MOST = 50_000_000  # bytes; the largest tables have a few


@dataclass(frozen=True)
class Tag:
    """``name`` as Danbooru writes it, with underscores; ``category`` a word of ``CATEGORIES``, or its number."""

    name: str
    category: str


def read(path: Path) -> tuple[Tag, ...]:
    """The tags of a table with the columns ``name`` and ``category``. Raises BadInput naming file and line."""
    expected = "a table with the columns name and category, as selected_tags.csv of the WD14 taggers"
    try:
        if path.stat().st_size > _MOST:
            raise BadInput(path, f"{path.stat().st_size} bytes", expected)
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(path, f"text that is not UTF-8 (byte {error.start})", expected) from error
    except OSError as error:
        raise BadInput(path, f"a file that cannot be read ({error.strerror})", expected) from error
    rows = csv.DictReader(lines)
    if not {"name", "category"} <= set(rows.fieldnames or ()):
        raise BadInput(path, f"the columns {', '.join(rows.fieldnames or ()) or 'of nothing'}", expected)
    found = [Tag(_name(path, rows.line_num, row), _category(path, rows.line_num, row)) for row in rows]
    if not found:
        raise BadInput(path, "no tags", expected)
    return tuple(found)


def _name(path: Path, line: int, row: dict[str, str | None]) -> str:
    name = (row["name"] or "").strip()
    if not name:
        raise BadInput(f"{path}, line {line}", "no name", "the name of a tag")
    return name


def _category(path: Path, line: int, row: dict[str, str | None]) -> str:
    text = (row["category"] or "").strip().lower()
    if text.isascii() and text.isdigit():
        return CATEGORIES.get(int(text), text)
    if text in CATEGORIES.values():
        return text
    raise BadInput(
        f"{path}, line {line}: category", repr(text), "a number, or one of " + ", ".join(CATEGORIES.values())
    )
