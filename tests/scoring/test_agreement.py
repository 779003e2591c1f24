"""Agreement of scores: the correlation is scipy's, and what is said is what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.agreement import Agreement, agreement, agreements, kendall
from lib_astolfo.scoring.detectors import DETECTORS
from lib_astolfo.scoring.score import Score, ScoreValues


def never(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    raise AssertionError("only named")


LOW, HIGH = Score("low", never, "lower"), Score("high", never, "higher")


def cells(means: list[float], noise: float = 0.05, seed: int = 0, pictures: int = 32) -> list[ScoreValues]:
    random = np.random.default_rng(seed)
    shared = random.normal(0, 0.3, pictures)  # a picture's own, the same in all cells
    return [ScoreValues.of(mean + shared + random.normal(0, noise, pictures)) for mean in means]


def test_kendall_is_scipys_with_ties_and_without() -> None:
    random = np.random.default_rng(1)
    ones, others = random.normal(size=(60, 9)), random.integers(0, 4, (60, 9)).astype(float)
    expected = [kendalltau(a, b).statistic for a, b in zip(ones, others, strict=True)]
    np.testing.assert_allclose(kendall(ones, others), expected, atol=1e-12)
    assert kendall(np.zeros((1, 5)), ones[:1, :5])[0] == 0.0


def test_the_same_order_under_opposite_sides_agrees() -> None:
    truth = [0.1, 0.5, 0.9, 1.3, 1.7, 2.1]
    found = agreement(LOW, HIGH, cells(truth), cells([-one for one in truth], seed=2))
    assert (found.tau, found.cells, found.conflict) == (pytest.approx(1.0), 6, None)
    assert found.low > 0.8 and found.chance < 0.02
    against = agreement(LOW, HIGH, cells(truth), cells(truth, seed=2))
    assert against.tau == pytest.approx(-1.0) and against.chance < 0.02


def test_no_order_in_common_is_chance_and_noise_widens_the_interval() -> None:
    random = np.random.default_rng(3)
    one, other = list(random.normal(size=12)), list(random.normal(size=12))
    found = agreement(LOW, LOW, cells(one), cells(other, seed=4))
    assert found.chance > 0.1
    sharp, rough = (agreement(LOW, LOW, cells(one, noise), cells(one, noise, seed=4)) for noise in (0.01, 2.0))
    assert rough.high - rough.low > 3 * (sharp.high - sharp.low)


def conflict_of(gap: float) -> Agreement:
    """Cell 0 is best by the first score, cell 3 by the second, each by this much."""
    return agreement(
        LOW, HIGH, cells([0.0, 0.5, 0.5, gap]), cells([1.0 - gap, 0.5, 0.5, 1.0], seed=5), [10, 11, 12, 13]
    )


def test_different_best_cells_count_only_outside_the_error() -> None:
    clear = conflict_of(0.4).conflict
    assert clear is not None and (clear.first, clear.second) == (10, 13)
    assert clear.by_first.mean == pytest.approx(0.4, abs=0.05) and clear.by_second.mean == pytest.approx(0.4, abs=0.05)
    rough = [[ScoreValues(mean, 0.5) for mean in means] for means in ([0.0, 0.5, 0.5, 0.4], [0.6, 0.5, 0.5, 1.0])]
    assert agreement(LOW, HIGH, *rough).conflict is None, "as good within the error"


def test_one_side_alone_is_no_conflict() -> None:
    found = agreement(LOW, HIGH, cells([0.0, 1.0]), cells([0.5, 0.501], seed=6))
    assert found.conflict is None


def test_scores_without_values_for_each_picture_take_part() -> None:
    truth = [0.1, 0.4, 0.2, 0.8, 0.6]
    whole = [ScoreValues(mean, 0.01) for mean in truth]
    found = agreement(LOW, LOW, cells(truth), whole)
    assert found.tau == pytest.approx(1.0) and found.conflict is None


def test_pairs_leave_out_detectors_scores_without_a_side_and_cells_without_values() -> None:
    scores = {"low": LOW, "high": HIGH, "plain": Score("plain", never), "blur": DETECTORS["blur"]}
    ones, others = cells([0.1, 0.2, 0.3]), cells([3.0, 2.0, 1.0])
    rows = [{"low": a, "high": b, "blur": a, "plain": a} for a, b in zip(ones, others, strict=True)]
    rows.insert(1, {"low": ones[0]})
    rows.append({"low": ones[0], "high": ScoreValues(float("nan"), float("nan"))})
    (found,) = agreements(scores, rows)
    assert (found.first, found.second, found.cells) == ("low", "high", 3)
    with pytest.raises(BadInput, match="two or more"):
        agreement(LOW, HIGH, ones[:1], others[:1])


def test_many_cells_are_thinned_out() -> None:
    truth = list(np.linspace(0, 3, 500))
    found = agreement(LOW, LOW, cells(truth, pictures=8), cells(truth, seed=7, pictures=8))
    assert found.cells == 500 and found.tau > 0.9
