"""Offline replay of auto-MBW's histories: our search over block ratios against the order in which theirs was made.

    python tests/benchmarks/search_replay.py FOLDER_OF_CSV --json replay.json

The stand-in for the pictures of a history is a regression forest over it, as Breiman's program grows one for
regression (a third of the features at a split, five rows in a leaf); its held-out error is that of the rows that a tree
has not seen. Both orders are judged by it: how many evaluations until 99 percent of the best that it gives to a row of
the history. Ours knows nothing of the history. Over several seeds the median counts; a search that did not get there in
as many evaluations as the original order needed has not.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib_astolfo.scoring.score import Score, ScoreValues  # noqa: E402
from lib_astolfo.search.strategies.base import Tried  # noqa: E402
from lib_astolfo.search.strategies.sampled import Sampled  # noqa: E402
from lib_astolfo.search.strategies.space import Dimension, Space  # noqa: E402

COUNT = 27
NEAR = 0.99  # of the best
TREES, LEAF = 200, 5
SEEDS = 5
SPACE = Space(tuple(Dimension(f"P{index:02}", block=True) for index in range(COUNT)))


def _never(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    raise AssertionError("nothing is drawn")


SCORE = Score("stand-in", _never, "higher")


@dataclass(frozen=True)
class History:
    """A history in the order in which it was made, and its stand-in. ``scores`` are the stand-in's of its rows."""

    name: str
    forest: Any
    scores: np.ndarray
    held_out: float  # mean absolute error
    explained: float  # R² of the rows that were not seen

    @property
    def goal(self) -> float:
        return float(NEAR * self.scores.max())

    @property
    def original(self) -> int:
        """Evaluations that the original order needed."""
        return int(np.argmax(self.scores >= self.goal)) + 1

    def score(self, ratios: Sequence[float]) -> float:
        row = np.asarray([ratios], dtype=np.float32)
        return float(np.mean([tree.predict(row, check_input=False)[0] for tree in self.forest.estimators_]))


def read(path: Path) -> History:
    """A history from its table."""
    from sklearn.ensemble import RandomForestRegressor

    rows = [[float(value) for value in row] for row in list(csv.reader(path.open(encoding="utf-8")))[1:] if row]
    ratios, scores = np.array([row[:COUNT] for row in rows]), np.array([row[COUNT] for row in rows])
    forest = RandomForestRegressor(
        TREES, min_samples_leaf=LEAF, max_features=1 / 3, oob_score=True, random_state=0
    ).fit(ratios, scores)
    held_out = float(np.abs(forest.oob_prediction_ - scores).mean())
    return History(path.stem.split("-")[0], forest, forest.predict(ratios), held_out, float(forest.oob_score_))


def evaluations(history: History, kind: str, seed: int, most: int) -> int:
    """How many our search needs, one cell a round; ``most + 1`` if it is not there by then."""
    search = Sampled(kind, SPACE, SCORE, evaluations=most, each=1, seed=seed)
    rounds: list[list[Tried]] = []
    while cells := search.propose(rounds):
        rounds.append([])
        for values in cells:
            value = history.score([ratio for _, ratio in values["blocks"].ratios])
            rounds[-1].append(Tried(values, {SCORE.name: ScoreValues(value, 0.0)}))
            if value >= history.goal:
                return sum(len(round) for round in rounds)
    return most + 1


def replay(paths: Sequence[Path], kind: str = "additive", seeds: int = SEEDS) -> dict[str, Any]:
    """The table: every history with its held-out error, and both orders' evaluations."""
    rows = []
    for path in paths:
        history = read(path)
        found = [evaluations(history, kind, seed, history.original) for seed in range(seeds)]
        median = statistics.median(found)
        rows.append(
            {
                "history": history.name,
                "rows": len(history.scores),
                "held-out error": round(history.held_out, 5),
                "explained": round(history.explained, 3),
                "original": history.original,
                "ours": found,
                "median": median,
                "fewer": median < history.original,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return {
        "strategy": kind,
        "histories": len(rows),
        "evaluations": sum(row["rows"] for row in rows),
        "fewer": sum(row["fewer"] for row in rows),
        "held-out error": round(float(np.mean([row["held-out error"] for row in rows])), 5),
        "rows": rows,
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="where auto-MBW's tables lie")
    parser.add_argument("--strategy", default="additive")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    result = replay(sorted(options.folder.glob("*.csv")), options.strategy, options.seeds)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "rows"}))
    return result


if __name__ == "__main__":
    main()
