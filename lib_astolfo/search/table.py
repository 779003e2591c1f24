"""The scores of all cells as a table: for the terminal and, cell by cell, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib_astolfo.search.axes import AXES
from lib_astolfo.search.plan import columns

if TYPE_CHECKING:
    from lib_astolfo.scoring.score import Score, ScoreValues
    from lib_astolfo.search.store import CellResult
    from lib_astolfo.search.study import StudyResult


@dataclass(frozen=True)
class Entry:
    """One cell of the table: the score, and whether it is the best of its column or of all."""

    value: ScoreValues | None
    best: bool = False
    winner: bool = False

    @property
    def text(self) -> str:
        """``0.954 ± 0.011``."""
        return "" if self.value is None else f"{self.value.mean:.3f} ± {self.value.error:.3f}"


@dataclass(frozen=True)
class Table:
    """A score over the first axis (rows) and the combinations of the others (columns)."""

    score: Score
    row_axis: str
    rows: tuple[str, ...]
    columns: tuple[Mapping[str, Any], ...]
    entries: tuple[tuple[Entry, ...], ...]

    def headings(self) -> list[list[str]]:
        """For each column its labels, one line per axis."""
        return [
            [AXES[name].label(value) for name, value in column.items()] or [self.score.name] for column in self.columns
        ]


def table(result: StudyResult, score: Score) -> Table:
    """Lay out one score."""
    row_axis = next(iter(result.plan.axes))
    others = columns(result.plan, row_axis)
    winner = result.best()
    rows = []
    cells = [[result.find({row_axis: value, **column}) for column in others] for value in result.plan.axes[row_axis]]
    best = [_best(score, [row[c] for row in cells]) for c in range(len(others))]
    for r, row in enumerate(cells):
        rows.append(
            tuple(
                Entry(cell.scores[score.name], r in best[c], cell is winner) if cell is not None else Entry(None)
                for c, cell in enumerate(row)
            )
        )
    labels = tuple(AXES[row_axis].short(value) for value in result.plan.axes[row_axis])
    return Table(score, row_axis, labels, tuple(others), tuple(rows))


def _best(score: Score, cells: Sequence[CellResult | None]) -> set[int]:
    """The rows of the best cells of a column; none when all are alike or the score has no better side."""
    if not score.decides:
        return set()
    known = {i: float(score.loss(cell.scores[score.name].mean)) for i, cell in enumerate(cells) if cell is not None}
    lowest = min(known.values(), default=0.0)
    best = {i for i, loss in known.items() if loss == lowest}
    return best if len(best) < len(known) or len(known) == 1 else set()


def text(result: StudyResult, score: Score) -> str:
    """The table for a terminal; the best of each column has a ``*``, the winner ``<``."""
    made = table(result, score)
    levels = max(len(heading) for heading in made.headings())
    first = [made.row_axis, *[""] * (levels - 1), *made.rows]
    blocks = [first]
    for c, labels in enumerate(made.headings()):
        marks = [_mark(row[c]) for row in made.entries]
        blocks.append([*labels, *[""] * (levels - len(labels)), *marks])
    widths = [max(len(line) for line in block) for block in blocks]
    lines = []
    for i in range(len(first)):
        cells = [block[i].ljust(width) for block, width in zip(blocks, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([_title(score), *lines[:levels], rule, *lines[levels:]])


def _title(score: Score) -> str:
    if not score.decides:
        return f"{score.name} ± standard error"
    better = f"{score.better} is better" if isinstance(score.better, str) else f"best at {score.better:g}"
    return f"{score.name} ± standard error ({better}; * best of its column, < best of all)"


def _mark(entry: Entry) -> str:
    return f"{entry.text}{' <' if entry.winner else ' *' if entry.best else ''}"
