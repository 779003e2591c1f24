"""The exhaustion table: several models under every prediction and every uncond, each with its pictures and a verdict.

A combination that was not drawn stands in the table too, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib_astolfo.scoring.score import Score
from lib_astolfo.search.statistics import CHOSEN, worse
from lib_astolfo.search.store import CellResult

DRAWN, SAME, SENSELESS, FAILED, WAITING = "drawn", "same", "senseless", "failed", "waiting"
BEST, GOOD, DOUBT, WORSE, BROKEN, OPEN = "best", "good", "doubt", "worse", "broken", "open"  # levels of a verdict
MANY = 0.5  # share of a cell's pictures with one failure from which the cell is broken
SURE = 0.3  # nats by which the probe's reading must be better than this one


@dataclass(frozen=True)
class Row:
    """One combination. ``status``: drawn, same (as another one), senseless, failed or waiting, with the ``reason``.

    ``folder``: where the cell's picture lies, relative to the table's.
    """

    model: str
    prediction: str
    uncond: str
    status: str
    reason: str = ""
    cell: CellResult | None = None
    folder: str = ""
    level: str = OPEN
    verdict: str = ""

    @property
    def picture(self) -> str:
        """The name of the sheet of its pictures, "" without one."""
        return "" if self.cell is None else f"{self.folder}/{self.cell.picture}"


@dataclass(frozen=True)
class Model:
    """A model's part of the table. ``probe``: what the command ``probe`` gives for one model, None without; ``note``:
    why there is none."""

    name: str
    said: str
    rows: tuple[Row, ...]
    probe: Mapping[str, Any] | None = None
    note: str = ""


@dataclass(frozen=True)
class Exhaustion:
    """The whole table. ``pictures``: of a cell; ``primary``: the score that compares cells of one model, or None."""

    models: tuple[Model, ...]
    folder: Path
    pictures: int
    scores: Mapping[str, Score] = field(default_factory=dict)
    primary: Score | None = None
    stopped: bool = False
    seconds: float = 0.0

    @property
    def rows(self) -> Iterator[Row]:
        for model in self.models:
            yield from model.rows

    def counts(self) -> dict[str, int]:
        """How many combinations there are of each status."""
        found = dict.fromkeys((DRAWN, SAME, SENSELESS, FAILED, WAITING), 0)
        for row in self.rows:
            found[row.status] += 1
        return found


def errors(probe: Mapping[str, Any] | None) -> dict[str, float]:
    """By how many nats each reading denoises worse than the best one, by the probe."""
    if probe is None:
        return {}
    readings = {one["prediction"]: one["log_error"]["mean"] for one in probe["family"]["readings"]}
    best = min(readings.values())
    return {name: round(value - best, 3) for name, value in readings.items()}


def family_of(prediction: str) -> str:
    """``v`` of ``v ZTSNR``."""
    return prediction.split(" ")[0]


def judged(
    rows: Sequence[Row], scores: Mapping[str, Score], primary: Score | None, probe: Mapping[str, Any] | None
) -> tuple[Row, ...]:
    """The rows of a model with level and verdict: what the pictures say, and whether the probe says something else."""
    return tuple(
        _with_probe(replace(row, level=level, verdict=words), probe)
        for row, (level, words) in zip(rows, judge(rows, scores, primary), strict=True)
    )


def _with_probe(row: Row, probe: Mapping[str, Any] | None) -> Row:
    """A row that looks good is doubtful where the probe clearly prefers another prediction: pictures are few."""
    gap = errors(probe).get(family_of(row.prediction), 0.0)
    if row.level not in (BEST, GOOD) or gap < SURE:
        return row
    return replace(row, level=DOUBT, verdict=f"{row.verdict}; but {reading_words(row, probe)}")


def judge(rows: Sequence[Row], scores: Mapping[str, Score], primary: Score | None) -> Iterator[tuple[str, str]]:
    """Level and words for each of a model's rows, from its pictures: failures first, then against the best row."""
    broken = [alarms(row, scores) for row in rows]
    known = [
        row for row, failures in zip(rows, broken, strict=True) if primary and _value(row, primary) and not failures
    ]
    known = known or [row for row in rows if primary and _value(row, primary)]
    best = min(known, key=lambda row: _loss(row, primary), default=None) if primary else None
    for row, failures in zip(rows, broken, strict=True):
        if row.cell is None:
            yield OPEN, row.reason
        elif failures:
            yield BROKEN, "; ".join(failures)
        elif primary is None or best is None or best.cell is None:
            yield OPEN, "no failure was seen; no score with a better side compares it with the others"
        else:
            yield _against(row, best, primary)


def alarms(row: Row, scores: Mapping[str, Score]) -> list[str]:
    """The failures that many of a row's pictures show, in words."""
    if row.cell is None:
        return []
    found = []
    for name, value in row.cell.scores.items():
        if name in scores and scores[name].alarm and value.mean >= MANY:
            found.append(f"{name} in {100 * value.mean:.0f} % of the pictures")
    return found


def _value(row: Row, score: Score) -> bool:
    return row.cell is not None and score.name in row.cell.scores and bool(np.isfinite(_loss(row, score)))


def _loss(row: Row, score: Score | None) -> float:
    assert row.cell is not None
    assert score is not None
    return float(score.loss(row.cell.scores[score.name].mean))


def _against(row: Row, best: Row, score: Score) -> tuple[str, str]:
    assert row.cell is not None
    assert best.cell is not None
    value = row.cell.scores[score.name]
    words = f"{score.name} {value.mean:.3f} ± {value.error:.3f}"
    if row is best:
        return BEST, f"best of this model: {words}"
    difference = worse(score, value, best.cell.scores[score.name])
    if not difference.beyond(CHOSEN):
        return GOOD, f"as good as the best within the error: {words}"
    return WORSE, f"worse than the best by {difference.mean:.3f} ± {difference.error:.3f}: {words}"


def reading_words(row: Row, probe: Mapping[str, Any] | None) -> str:
    """What the probe says of this row's prediction; "" without a probe, or for readings that it does not measure."""
    gaps = errors(probe)
    own = gaps.get(family_of(row.prediction))
    if probe is None or own is None or row.status == SENSELESS:
        return ""
    if own == 0.0:
        return "the probe agrees with this prediction"
    best = min(gaps, key=lambda name: gaps[name])
    words = f"by the probe {best} denoises better by {own:.2f} nats"
    return words if own >= SURE else f"{words}, which is little"


def as_dict(table: Exhaustion) -> dict[str, Any]:
    """All of it as JSON."""
    from lib_astolfo.search import outcome

    def row_of(model: Model, row: Row) -> dict[str, Any]:
        values = {} if row.cell is None else outcome.cell_as_dict(row.cell)["scores"]
        said = reading_words(row, model.probe)
        gap = errors(model.probe).get(family_of(row.prediction))
        return {
            **{name: getattr(row, name) for name in ("prediction", "uncond", "status", "reason", "level", "verdict")},
            "probe": said,
            "nats": gap,
            "scores": values,
            "picture": row.picture,
        }

    return {
        "models": [
            {
                "name": model.name,
                "said": model.said,
                "probe": None if model.probe is None else dict(model.probe),
                "note": model.note,
                "rows": [row_of(model, row) for row in model.rows],
            }
            for model in table.models
        ],
        "primary": None if table.primary is None else table.primary.name,
        "counts": table.counts(),
        "stopped": table.stopped,
        "seconds": round(table.seconds, 1),
    }
