"""The Gaussian process: it finds what it is told to look for, and is a function of what was found before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lib_astolfo.scoring.score import ScoreValues
from lib_astolfo.search.ledger import DONE
from lib_astolfo.search.strategies.base import Tried, Values
from lib_astolfo.search.strategies.sampled import Sampled
from lib_astolfo.search.strategies.space import read_space

from .toy import BLOCKS, SCORE, found, search_of

AT = dict(zip(BLOCKS, (0.9, 0.15, 0.6, 0.35), strict=True))


def loss(values: Values) -> float:
    off = [value - AT[name] for name, value in values["blocks"].to_dict().items()]
    return float(np.sum(np.square(off))) + 0.1 * abs(values["cfg"] - 3.0)


def measured(batch: Sequence[Values], state: str = "done") -> list[Tried]:
    return [Tried(values, {"red": ScoreValues.of(np.full(4, loss(values)))}, state) for values in batch]


def test_it_finds_the_optimum_in_few_cells() -> None:
    space = read_space({"blocks": "0-1", "cfg": "2-4 (+0.5)"}, BLOCKS)
    search = Sampled("gp", space, SCORE, evaluations=32, each=4, seed=3)
    rounds: list[list[Tried]] = []
    while batch := search.propose(rounds):
        assert len(batch) == 4
        assert batch == search.propose(rounds), "the same from the same"
        rounds.append(measured(batch))
    losses = [search.loss(one) for round in rounds for one in round]
    assert len(losses) == 32
    first, last = min(losses[:12]), min(losses)  # type: ignore[type-var]
    assert last < 0.35 * first, f"{first} before it knew anything, {last} in the end"


def test_it_takes_choices_and_pruned_cells() -> None:
    space = read_space({"ratio": "0-1", "uncond": "zero, null"}, ())
    search = Sampled("gp", space, SCORE, evaluations=20, each=4, seed=1)
    rounds: list[list[Tried]] = []
    for _ in range(4):
        batch = search.propose(rounds)
        values = [
            ScoreValues.of(np.full(4, (one["ratio"] - 0.3) ** 2 + (one["uncond"].mode == "null"))) for one in batch
        ]
        states = ["pruned" if value.mean > 1 else "done" for value in values]
        rounds.append([Tried(one, {"red": v}, s) for one, v, s in zip(batch, values, states, strict=True)])
    done = [one for round in rounds for one in round if one.state == "done"]
    best = min(done, key=lambda one: one.scores["red"].mean)
    assert best.values["uncond"].mode == "zero"
    assert best.values["ratio"] == pytest.approx(0.3, abs=0.1)


def test_a_whole_search_with_it(tmp_path: Path) -> None:
    search = search_of("gp", f"sqlite:///{tmp_path / 'x.db'}", tmp_path, evaluations=14)
    search.run()
    assert [row[3] for row in found(search)] == [DONE] * 14
    search.ledger.close()
