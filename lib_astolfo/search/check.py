"""The winner measured again on pictures that had no part in choosing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib_astolfo.hosts.base import Host, Progress
from lib_astolfo.search import findings
from lib_astolfo.search.axes import plain
from lib_astolfo.search.plan import Plan, make_plan
from lib_astolfo.search.statistics import worse
from lib_astolfo.search.store import CellResult
from lib_astolfo.search.study import StudyResult, run
from lib_astolfo.search.verdict import Sentence

if TYPE_CHECKING:
    from lib_astolfo.merging.live import LiveWeights

FRESH_SEEDS = 1_000_003  # added to the study's seed


def check(
    result: StudyResult,
    host: Host,
    live: Callable[[], LiveWeights],
    folder: Path,
    pictures: int,
    *,
    progress: Progress | None = None,
    report: Progress | None = None,
) -> Sentence | None:
    """Draw the winner and the trained model's best setting at full strength with fresh seeds, and compare them.

    The best of many cells was partly lucky; on fresh pictures that luck is gone. None without a winner.
    """
    score, best = result.plan.primary, result.best()
    if score is None or best is None or pictures < 2:
        return None
    rival = findings.full_strength(result, score)
    cells = [best] if rival is None else [best, rival.first]
    plans = [_fresh(result.plan, cell, pictures) for cell in cells]
    fresh = [run(plan, host, live, folder, progress=progress, report=report).cells[0] for plan in plans]
    value = fresh[0].scores[score.name]
    text = f"On {pictures} pictures with fresh seeds, which had no part in choosing it, the winner has {score.name} "
    text += f"{value.mean:.3f} ± {value.error:.3f} ({best.scores[score.name].mean:.3f} when it was chosen)"
    if rival is None:
        return Sentence("check", "found", text + ".")
    other = fresh[1].scores[score.name]
    against = worse(score, other, value)
    text += (
        f"; the trained model at full strength ({rival.first.cell.label}) has {other.mean:.3f} ± {other.error:.3f}. "
    )
    if not against.clear:
        return Sentence("check", "caution", text + f"They cannot be told apart (difference {against}).")
    side = "The merge" if against.mean > 0 else "Full strength"
    text += f"{side} is better by {abs(against.mean):.3f} ± {against.error:.3f}."
    return Sentence("check", "found" if against.mean > 0 else "caution", text)


def _fresh(plan: Plan, cell: CellResult, pictures: int) -> Plan:
    """One cell of a plan with more pictures, none of them with a seed that was used before."""
    seed = (cell.cell.values.get("seed", plan.settings.seed) + FRESH_SEEDS) % 2**32
    axes = {name: [plain(value)] for name, value in cell.cell.values.items() if name != "seed"}
    settings = replace(plan.settings, axes=axes, pictures=pictures, seed=seed)
    return make_plan(settings, plan.scores, sampling=plan.natural, identity=plan.identity, naturals=plan.naturals)
