"""Where a grid should be finer: between the best ratio of each curve and its neighbours."""

from __future__ import annotations

from collections import Counter

from lib_astolfo.search import findings
from lib_astolfo.search.study import StudyResult


def finer(result: StudyResult, count: int) -> list[float]:
    """At most ``count`` new ratios, rising: midpoints beside the best point of the curves, those of most curves first.

    The overall winner's neighbourhood counts double. Empty without a primary score or a ratio axis.
    """
    if result.plan.primary is None:
        return []
    winner, votes = result.best(), Counter[float]()
    for curve in findings.curves(result, result.plan.primary):
        if curve.optimum is None:
            continue
        best = curve.optimum.index
        for other in (best - 1, best + 1):
            if 0 <= other < len(curve.xs):
                votes[round((curve.xs[best] + curve.xs[other]) / 2, 6)] += 2 if curve.best is winner else 1
    known = set(result.plan.axes["ratio"])
    wanted = sorted((ratio for ratio in votes if ratio not in known), key=lambda ratio: (-votes[ratio], ratio))
    return sorted(wanted[:count])
