"""The history of a run: one JSON object a line, and the steps once more as a table.

Every row has a ``kind`` and a ``step``: how many steps were done when it was written. Rows hold nothing that differs
between two runs of the same settings, no times of day, so a run that was cut short and taken up has the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from lib_astolfo.checkpoints import files

JSONL, CSV = "history.jsonl", "history.csv"
COLUMNS = ("step", "epoch", "phase", "loss", "raw", "relative", "norm", "clipped", "moved", "skipped")
Row = dict[str, Any]


class History:
    """The two files in ``folder``, which is made. Lines are handed to the system at once: a killed process loses none.

    Raises Failed or OSError if the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.jsonl, self.csv = folder / JSONL, folder / CSV
        self._open: dict[Path, TextIO] = {}

    def append(self, row: Mapping[str, Any]) -> Row:
        """Write a row; returns it as it will be read again, with null for what is not finite."""
        text = json.dumps(finite(row), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        self._write(self.jsonl, text + "\n")
        read: Row = json.loads(text)
        if read["kind"] == "step":
            head = "" if self.csv.exists() and self.csv.stat().st_size else table([], read)
            self._write(self.csv, head + table([read]))
        return read

    def rows(self, kind: str = "") -> Iterator[Row]:
        """All rows in order, or those of a kind. A last line that a killed process left unfinished is passed over."""
        for _, row in self._lines():
            if not kind or row["kind"] == kind:
                yield row

    def cut(self, step: int) -> int:
        """Remove what came after ``step`` steps; returns how many rows that were. Safe against kills at any moment."""
        lines = list(self._lines())
        kept = [(text, row) for text, row in lines if row["step"] <= step]
        whole = "".join(text for text, _ in kept)
        steps = [row for _, row in kept if row["kind"] == "step"]
        self.close()
        _put(self.jsonl, whole)
        _put(self.csv, table(steps, steps[0]) if steps else "")
        return len(lines) - len(kept)

    def sync(self) -> None:
        """On the disk, before a checkpoint that stands on it."""
        for handle in self._open.values():
            os.fsync(handle.fileno())

    def close(self) -> None:
        """Let go of the files; they are opened again when needed."""
        while self._open:
            self._open.popitem()[1].close()

    def _write(self, path: Path, text: str) -> None:
        if path not in self._open:
            self._open[path] = path.open("a", encoding="utf-8", newline="\n")
        self._open[path].write(text)
        self._open[path].flush()

    def _lines(self) -> Iterator[tuple[str, Row]]:
        if not self.jsonl.exists():
            return
        with self.jsonl.open(encoding="utf-8", newline="\n") as handle:
            for text in handle:
                if not text.endswith("\n"):
                    return
                yield text, json.loads(text)


def table(rows: list[Row], head: Row | None = None) -> str:
    """The rows as lines of CSV, under the names of the columns if ``head`` (the first row of the file) is given."""
    out = io.StringIO(newline="")
    written = csv.writer(out, lineterminator="\n")
    if head is not None:
        written.writerow([*COLUMNS, *(f"rate {group}" for group in sorted(head["rates"]))])
    for row in rows:
        written.writerow([*(row[name] for name in COLUMNS), *(row["rates"][group] for group in sorted(row["rates"]))])
    return out.getvalue()


def finite(value: Any) -> Any:
    """The value with None for every float that JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _put(path: Path, text: str) -> None:
    """The file with this text, untouched if it has it; none for an empty text."""
    now = path.read_text("utf-8") if path.exists() else ""
    if now == text:
        return
    files.write_text(path, text, overwrite=True)
