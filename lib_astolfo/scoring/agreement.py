"""How far two scores agree about the same cells: rank correlation, and whether they name different best cells.

A score never decides alone. Two that rank the cells alike support each other; two that each find the other's best cell
clearly worse measure different things, and the pictures have to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.compare import CHOSEN, Difference, draw_means, worse
from lib_astolfo.scoring.score import Score, ScoreValues

DRAWS = 400  # of the bootstrap over pictures
SHUFFLES = 2000  # of the test that nothing is behind the order
MOST_CELLS = 200  # evenly chosen where there are more
CHUNK = 50


@dataclass(frozen=True)
class Conflict:
    """The cells that each score finds best (places in the sequence), and by how much the other one's is worse."""

    first: int
    second: int
    by_first: Difference
    by_second: Difference


@dataclass(frozen=True)
class Agreement:
    """Two scores over the same cells.

    ``tau``: Kendall's tau-b of the cells' means, 1 the same order, -1 the opposite one; ``low`` to ``high``: 95 % of
    what other pictures would give (bootstrap); ``chance``: how often cells in no order at all agree or disagree as much
    (permutation test); ``conflict``: set where each score finds the other one's best cell clearly worse.
    """

    first: str
    second: str
    cells: int
    tau: float
    low: float
    high: float
    chance: float
    conflict: Conflict | None = None


def agreements(scores: Mapping[str, Score], cells: Sequence[Mapping[str, ScoreValues]]) -> list[Agreement]:
    """Every pair of scores that have a better side and are no detectors, over the cells that have both."""
    return list(_pairs([score for score in scores.values() if score.decides and not score.alarm], cells))


def _pairs(scores: Sequence[Score], cells: Sequence[Mapping[str, ScoreValues]]) -> Iterator[Agreement]:
    for first, second in combinations(scores, 2):
        both = [at for at, one in enumerate(cells) if _has(one, first) and _has(one, second)]
        if len(both) > 1:
            values = [[cells[at][score.name] for at in both] for score in (first, second)]
            yield agreement(first, second, values[0], values[1], both)


def _has(cell: Mapping[str, ScoreValues], score: Score) -> bool:
    return score.name in cell and bool(np.isfinite(cell[score.name].mean))


def agreement(
    first: Score,
    second: Score,
    ones: Sequence[ScoreValues],
    others: Sequence[ScoreValues],
    places: Sequence[int] | None = None,
) -> Agreement:
    """Two scores' values of the same cells. ``places``: what the cells are called in the result's conflict.

    Errors: BadInput for fewer than two cells.
    """
    if len(ones) != len(others) or len(ones) < 2:
        raise BadInput("agreement", f"{len(ones)} and {len(others)} cells", "the same two or more cells")
    losses = [score.loss(np.array([one.mean for one in values])) for score, values in ((first, ones), (second, others))]
    if len(ones) > MOST_CELLS:
        kept = np.linspace(0, len(ones) - 1, MOST_CELLS).round().astype(int)
    else:
        kept = np.arange(len(ones))
    few = [[values[at] for at in kept] for values in (ones, others)]
    drawn = [score.loss(draw_means(values, DRAWS, 0)) for score, values in zip((first, second), few, strict=True)]
    taus = kendall(drawn[0], drawn[1])
    tau = float(kendall(losses[0][kept][None], losses[1][kept][None])[0])
    low, high = np.percentile(taus, [2.5, 97.5])
    chance = _chance(losses[0][kept], losses[1][kept], tau)
    conflict = _conflict(first, second, (ones, others), losses)
    if conflict is not None and places is not None:
        conflict = Conflict(places[conflict.first], places[conflict.second], conflict.by_first, conflict.by_second)
    shown = (float(min(low, tau)), float(max(high, tau)))
    return Agreement(first.name, second.name, len(ones), tau, *shown, chance, conflict)


def kendall(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Kendall's tau-b (Kendall 1945, Biometrika 33, 239) of each row: [D,C] and [D,C] to [D]; 0 for a row of ties."""
    first, second = np.triu_indices(ones.shape[1], 1)
    found = []
    for start in range(0, len(ones), CHUNK):
        a, b = (
            np.sign(rows[start : start + CHUNK, first] - rows[start : start + CHUNK, second]) for rows in (ones, others)
        )
        untied = np.sqrt((a != 0).sum(axis=1) * (b != 0).sum(axis=1))
        found.append((a * b).sum(axis=1) / np.maximum(untied, 1.0))
    return np.concatenate(found)


def _chance(ones: np.ndarray, others: np.ndarray, tau: float) -> float:
    """Share of shuffles with at least this much of agreement or disagreement, the order itself counted as one."""
    random = np.random.default_rng(0)
    shuffled = random.permuted(np.broadcast_to(others, (SHUFFLES, len(others))), axis=1)
    taus = kendall(np.broadcast_to(ones, shuffled.shape), shuffled)
    return float((1 + (np.abs(taus) >= abs(tau) - 1e-12).sum()) / (1 + SHUFFLES))


def _conflict(
    first: Score,
    second: Score,
    values: tuple[Sequence[ScoreValues], Sequence[ScoreValues]],
    losses: Sequence[np.ndarray],
) -> Conflict | None:
    """Set if each score's best cell is clearly worse by the other one; a best cell is chosen, so 2.5 errors count."""
    mine, theirs = (int(loss.argmin()) for loss in losses)
    by_first = worse(first, values[0][theirs], values[0][mine])
    by_second = worse(second, values[1][mine], values[1][theirs])
    clear = all(one.mean > 0 and one.beyond(CHOSEN) for one in (by_first, by_second))
    return Conflict(mine, theirs, by_first, by_second) if mine != theirs and clear else None
