"""Whether the scores of a study agree, and whether its best cells have pictures that have failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lib_astolfo.scoring.agreement import Agreement, agreements
from lib_astolfo.scoring.score import Score
from lib_astolfo.search import findings
from lib_astolfo.search.store import CellResult
from lib_astolfo.search.study import StudyResult

if TYPE_CHECKING:
    from lib_astolfo.search.verdict import Sentence

FAILED = 0.25  # share of a cell's pictures from which it is said that they have failed
MOST_PAIRS = 3
CHANCE = 0.05  # below this the order that two scores have in common is no accident


def found(result: StudyResult) -> list[Agreement]:
    """Every pair of scores that can choose and are not saturated; the places in a conflict are those of the cells."""
    scores = {name: one for name, one in result.plan.scores.items() if not findings.saturated(result, one)}
    return agreements(scores, [cell.scores for cell in result.cells])


def failures(cell: CellResult, result: StudyResult) -> list[tuple[Score, float]]:
    """The detectors that find too many of a cell's pictures failed, with the share."""
    seen = [(score, cell.scores.get(score.name)) for score in result.plan.scores.values() if score.alarm]
    return [(score, value.mean) for score, value in seen if value is not None and value.mean >= FAILED]


def said(result: StudyResult, score: Score | None) -> Iterator[Sentence]:
    """What the verdict says of it: failed pictures first, then conflicts, then how far the scores agree."""
    yield from _failed(result)
    pairs = found(result)
    yield from _conflicts(result, pairs)
    if score is not None:
        yield from _orders(pairs, score)


def _failed(result: StudyResult) -> Iterator[Sentence]:
    from lib_astolfo.search.verdict import Sentence

    best = result.best()
    if best is not None:
        for score, share in failures(best, result):
            text = f"{100 * share:.0f} % of the best cell's pictures look like failures ({score.name}): look at them."
            yield Sentence("failed", "caution", text)
    others = [cell for cell in result.cells if cell is not best and failures(cell, result)]
    if others:
        names = sorted({score.name for cell in others for score, _ in failures(cell, result)})
        text = (
            f"{len(others)} of the {'other ' if best is not None else ''}cells have pictures that look like failures "
        )
        yield Sentence("failed", "note", text + f"({', '.join(names)}): {_some(others)}.")


def _some(cells: list[CellResult]) -> str:
    more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
    return "; ".join(cell.cell.label for cell in cells[:3]) + more


def _conflicts(result: StudyResult, pairs: list[Agreement]) -> Iterator[Sentence]:
    from lib_astolfo.search.verdict import Sentence

    clashing = [one for one in pairs if one.conflict is not None]
    for one in clashing[:MOST_PAIRS]:
        conflict = one.conflict
        assert conflict is not None
        first, second = (result.cells[at].cell.label for at in (conflict.first, conflict.second))
        text = f"{one.first} and {one.second} name different best cells, each outside the other's error: {one.first} "
        text += (
            f"prefers {first} (the other is worse by {conflict.by_first.mean:.3f} ± {conflict.by_first.error:.3f}), "
        )
        text += f"{one.second} prefers {second} (by {conflict.by_second.mean:.3f} ± {conflict.by_second.error:.3f}). "
        yield Sentence("conflict", "caution", text + "Neither decides: compare the pictures.")
    if len(clashing) > MOST_PAIRS:
        text = f"{len(clashing) - MOST_PAIRS} more pairs of scores name different best cells; see the table."
        yield Sentence("conflict", "caution", text)


def _orders(pairs: list[Agreement], score: Score) -> Iterator[Sentence]:
    """How the other scores order the cells, against the one that chooses."""
    from lib_astolfo.search.verdict import Sentence

    for one in pairs:
        if score.name not in (one.first, one.second) or one.cells < 3:
            continue
        other = one.second if one.first == score.name else one.first
        words = "in no order in common with" if one.chance > CHANCE else "much as" if one.tau > 0 else "against"
        text = f"{other} orders the {one.cells} cells {words} {score.name} does: {tau_words(one)}."
        level = "note" if one.tau > 0 and one.chance <= CHANCE else "caution"
        yield Sentence("agreement", level, text)


def tau_words(one: Agreement) -> str:
    """``Kendall's tau 0.62 (95 % interval 0.40 to 0.78; 0.001 by chance)``."""
    return f"Kendall's tau {one.tau:.2f} (95 % interval {one.low:.2f} to {one.high:.2f}; {one.chance:.3f} by chance)"


def as_dict(result: StudyResult) -> list[dict[str, Any]]:
    """The pairs as JSON; the cells of a conflict by their labels."""
    return [_pair(one, result) for one in found(result)]


def _pair(one: Agreement, result: StudyResult) -> dict[str, Any]:
    figures = {name: round(getattr(one, name), 4) for name in ("tau", "low", "high", "chance")}
    made: dict[str, Any] = {"scores": [one.first, one.second], "cells": one.cells, **figures, "conflict": None}
    if one.conflict is not None:
        labels = [result.cells[at].cell.label for at in (one.conflict.first, one.conflict.second)]
        made["conflict"] = dict(zip((one.first, one.second), labels, strict=True))
    return made
