"""What the votes on a study say, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from lib_astolfo.search.preference import Z95
from lib_astolfo.search.votes import Tally

SURE = 0.95  # probability from which a setting counts as the best one
SIDED = 2.5  # standard deviations of the left side's share from a half, from which voters have a favourite side
FEW = 3  # votes for each setting, below which the strengths are hardly more than the prior


def sentences(made: Tally) -> list[str]:
    """The lines, the result first."""
    return list(_lines(made)) if made.total else []


def _lines(made: Tally) -> Iterator[str]:
    first, second = (np.argsort(-made.strengths.mean, kind="stable")[:2]).tolist()
    names, share = made.contest.settings, float(made.best[first])
    apart = made.strengths.mean[first] - made.strengths.mean[second]
    error = math.sqrt(float(made.strengths.difference()[first, second]))
    if share >= SURE:
        yield f"The votes prefer {names[first]}: the best one with a probability of {100 * share:.0f} %."
    else:
        text = f"No clear favourite yet: {names[first]} leads, the best one with a probability of {100 * share:.0f} %; "
        yield text + f"before {names[second]} by {apart:.2f} ± {Z95 * error:.2f}."
    per_setting = 2 * made.total / len(names)
    if per_setting < FEW:
        yield f"{per_setting:.1f} votes a setting are few: strengths are held together by the prior."
    left, right = made.left
    if left + right and abs(left - right) > SIDED * math.sqrt(left + right):
        side = "left" if left > right else "right"
        yield f"The {side} side was chosen {max(left, right)} of {left + right} times, more than chance: look again."
    for one in made.agreement:
        pair = f"{one.first or '(no name)'} and {one.second or '(no name)'}"
        kappa = "" if math.isnan(one.kappa) else f" (kappa {one.kappa:.2f})"
        yield f"{pair} answered {one.shared} comparisons both, {100 * one.same:.0f} % of them alike{kappa}."
    yield (
        "Strengths are log odds against the mean of all (Bradley and Terry; ties as in Davidson), with a weak prior; "
        "intervals are 95 %, and take the votes as independent. Elo is a running figure."
    )
