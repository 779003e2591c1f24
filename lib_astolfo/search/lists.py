"""Lists of values as people write them: with commas and quotes, and with the ranges of A1111's X/Y/Z plot.

``1-5`` is 1, 2, 3, 4, 5; ``1-5 (+2)`` 1, 3, 5; ``10-5 (-3)`` 10, 7; ``1-10 [5]`` 1, 3, 5, 7, 10 (five points; of whole
numbers the whole parts). Ranges and values mix: ``0.2, 0.5-0.9 [5]``. A value with a comma stands in quotes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from lib_astolfo.errors import BadInput

MAX_VALUES = 1000

_NUMBER = r"([-+]?\s*(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_RANGE = re.compile(rf"\s*{_NUMBER}\s*-\s*{_NUMBER}\s*(?:\(\s*{_NUMBER}\s*\)|\[\s*(\d+)\s*\])?\s*")
EXPECTED = "numbers, or ranges as `0-1 [11]` (points), `0-1 (+0.1)` (steps), with commas between"


def split(text: str) -> list[str]:
    """The entries of a text, at commas and line ends that stand in no quotes; empty ones are passed over.

    >>> split('zero, "a, b", null')
    ['zero', 'a, b', 'null']
    """
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    return [entry.strip() for row in rows for entry in row if entry.strip()]


def numbers(where: str, given: str, *, whole: bool) -> Iterator[Any]:
    """The entries of a text, ranges written out; what is neither range nor number is handed on as it is.

    ``whole``: the axis takes whole numbers. Raises BadInput for a range that is none.
    """
    for entry in split(given):
        found = _RANGE.fullmatch(entry)
        if found is None:
            yield entry
            continue
        start, end = (float(part.replace(" ", "")) for part in found.group(1, 2))
        if found[4] is not None:
            yield from _points(where, entry, start, end, int(found[4]), whole)
        else:
            yield from _steps(where, entry, start, end, float((found[3] or "1").replace(" ", "")), whole)


def _points(where: str, entry: str, start: float, end: float, count: int, whole: bool) -> Iterator[float]:
    if not 2 <= count <= MAX_VALUES:
        raise BadInput(where, repr(entry), f"2 to {MAX_VALUES} points, as in `0-1 [11]`")
    for index in range(count):
        value = round(start + (end - start) * index / (count - 1), 10)
        yield int(value) if whole else value


def _steps(where: str, entry: str, start: float, end: float, step: float, whole: bool) -> Iterator[float]:
    count = (end - start) / step if step else -1.0
    if not 0 <= count <= MAX_VALUES:
        raise BadInput(where, repr(entry), "a range with a step towards its end, as in `0-1 (+0.1)` or `10-5 (-3)`")
    for index in range(int(count + 1e-9) + 1):
        value = round(start + step * index, 10)
        yield int(value) if whole and value == int(value) else value
