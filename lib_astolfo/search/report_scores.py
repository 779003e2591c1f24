"""The report's section on the scores: what each of them likes best and least, in pictures, and whether they agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lib_astolfo.search import agreeing

if TYPE_CHECKING:
    from lib_astolfo.scoring.agreement import Agreement
    from lib_astolfo.scoring.score import Score
    from lib_astolfo.search.store import CellResult
    from lib_astolfo.search.study import StudyResult

Picture = Callable[["CellResult"], str]  # the address of a cell's picture
MOST_SCORES = 8
SHOWN = 'style="max-width: 15rem; width: 100%"'


def section(result: StudyResult, picture: Picture) -> str:
    """The section, "" for a study with one cell or no score that has a better side."""
    rows = "".join(_rows(result, picture))
    if not rows or len(result.cells) < 2:
        return ""
    return (
        '<section><h2>What each score likes</h2><div class="scroll"><table><thead><tr><th>score</th><th>best by it</th>'
        f"<th>worst by it</th></tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="note">A score measures what it measures. Look whether you would choose as it does.</p>'
        f"{_agreements(result, picture)}</section>"
    )


def _rows(result: StudyResult, picture: Picture) -> Iterator[str]:
    deciding = [score for score in result.plan.scores.values() if score.decides]
    for score in deciding[:MOST_SCORES]:
        cells = [cell for cell in result.cells if score.name in cell.scores]
        losses = score.loss(np.array([cell.scores[score.name].mean for cell in cells]))
        if not cells or np.isnan(losses).all() or np.nanmax(losses) == np.nanmin(losses):
            continue
        if score.alarm and losses.max() < agreeing.FAILED:
            continue  # it found nothing
        ends = (cells[int(np.nanargmin(losses))], cells[int(np.nanargmax(losses))])
        shown = "".join(f"<td>{_figure(cell, score, picture)}</td>" for cell in ends)
        yield f"<tr><th>{escape(score.name)}</th>{shown}</tr>"


def _figure(cell: CellResult, score: Score, picture: Picture) -> str:
    value = cell.scores[score.name]
    label = escape(cell.cell.label)
    return f'<img alt="{label}" src="{picture(cell)}" {SHOWN}><br>{label}<br>{value.mean:.3f} ± {value.error:.3f}'


def _agreements(result: StudyResult, picture: Picture) -> str:
    pairs = agreeing.found(result)
    if not pairs:
        return ""
    rows = "".join(_pair(one) for one in sorted(pairs, key=lambda one: one.tau))
    clashes = "".join(_clash(one, result, picture) for one in pairs if one.conflict is not None)
    return (
        '<h2>Whether the scores agree</h2><div class="scroll"><table><thead><tr><th>scores</th><th>order of the cells '
        "(Kendall's tau)</th><th>95 % interval</th><th>by chance</th><th>best cells</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{clashes}"
        '<p class="note">1: the same order, 0: none in common, -1: the opposite. The interval is what other pictures '
        "would give; by chance: how often cells in no order at all give as much.</p>"
    )


def _pair(one: Agreement) -> str:
    best = "different, each outside the other's error" if one.conflict else "the same within the error"
    return (
        f"<tr><th>{escape(one.first)}, {escape(one.second)}</th><td>{one.tau:.2f}</td>"
        f"<td>{one.low:.2f} to {one.high:.2f}</td><td>{one.chance:.3f}</td><td>{best}</td></tr>"
    )


def _clash(one: Agreement, result: StudyResult, picture: Picture) -> str:
    """The two best cells of a conflict side by side."""
    assert one.conflict is not None
    cells = {one.first: result.cells[one.conflict.first], one.second: result.cells[one.conflict.second]}
    shown = "".join(
        f"<td>best by {escape(name)}<br>{_figure(cell, result.plan.scores[name], picture)}</td>"
        for name, cell in cells.items()
    )
    return f'<div class="scroll"><table><tbody><tr>{shown}</tr></tbody></table></div>'
