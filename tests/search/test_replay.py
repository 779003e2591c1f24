"""Two of auto-MBW's histories replayed: our search over block ratios needs fewer evaluations than theirs did.

The tables are from the notes of 6DammK9 (MIT, see data/LICENSE). All 30: ``tests/benchmarks/search_replay.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import search_replay as replay

DATA = Path(__file__).with_name("data")
TABLES = {name: DATA / f"{name}.csv" for name in ("08b", "201b")}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TABLES))
def test_fewer_evaluations_than_the_original_order(name: str) -> None:
    result = replay.replay([TABLES[name]], seeds=3)
    (row,) = result["rows"]
    assert row["fewer"], row
    assert 0 < row["held-out error"] < 0.02


def test_the_original_order_is_the_tables() -> None:
    history = replay.read(TABLES["201b"])
    assert len(history.scores) == 99
    assert history.scores[history.original - 1] >= history.goal
    assert (history.scores[: history.original - 1] < history.goal).all()


def test_a_warm_start_tries_the_tables_best_rows_first() -> None:
    from lib_astolfo.merging.recipes.autombw import LINE, table
    from lib_astolfo.search.strategies.sampled import Sampled
    from lib_astolfo.search.strategies.space import Dimension, Space

    space = Space(tuple(Dimension(name, block=True) for name in LINE))
    best = table(TABLES["201b"].read_text(encoding="utf-8"))[0]
    point = dict(zip(LINE, best.weights, strict=True))
    search = Sampled("additive", space, replay.SCORE, each=3, given=(point,))
    (first, *others) = search.propose([])
    assert first["blocks"].to_dict() == point
    assert len(others) == 2
