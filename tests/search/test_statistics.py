"""The optimum and its interval on curves whose optimum is known."""

from __future__ import annotations

import numpy as np
import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.score import Score, ScoreValues
from lib_astolfo.search.statistics import difference, optimum, vertices, worse

from .conftest import BRIGHTNESS, FRECHET, NEAR

RATIOS = [round(0.1 * i, 1) for i in range(11)]


def measured(curve: np.ndarray, noise: float, shared: float, seed: int, pictures: int = 64) -> list[ScoreValues]:
    """Scores of a paired study: what a picture has by itself is the same at every ratio."""
    random = np.random.default_rng(seed)
    same = random.normal(0, shared, pictures)
    return [ScoreValues.of(mean + same + random.normal(0, noise, pictures)) for mean in curve]


def ratio_curve(ratios: list[float], best: float) -> np.ndarray:
    """Falls steeply, rises slowly, as ``near`` over the ratio does."""
    x = np.asarray(ratios) - best
    return 0.95 + 0.8 * x**2 - 0.9 * x**3 * (x < 0) + 0.1 * x**3 * (x > 0)


def test_interval_covers_the_true_optimum_and_is_not_needlessly_wide() -> None:
    hits, widths, found = 0, [], []
    for seed in range(60):
        best = optimum(RATIOS, measured(ratio_curve(RATIOS, 0.43), 0.05, 0.15, seed), NEAR, seed=seed)
        hits += best.low <= 0.43 <= best.high
        widths.append(best.high - best.low)
        found.append(best.position)
    assert hits >= 52, "a 95 % interval must cover about 57 of 60"
    assert np.mean(widths) < 0.16
    assert np.mean(found) == pytest.approx(0.43, abs=0.01)


def test_eleven_points_find_what_twenty_one_find() -> None:
    fine = [round(0.05 * i, 2) for i in range(21)]
    for true in (0.3, 0.45, 0.72):
        values = measured(ratio_curve(fine, true), 0.02, 0.15, 3)
        many = optimum(fine, values, NEAR)
        eleven = optimum(RATIOS, values[::2], NEAR)
        assert eleven.low <= many.position <= eleven.high
        assert eleven.kind == many.kind == "interior"


def test_noise_shared_by_all_cells_does_not_widen_the_interval() -> None:
    curve = ratio_curve(RATIOS, 0.4)
    calm = optimum(RATIOS, measured(curve, 0.02, 0.0, 1), NEAR)
    loud = optimum(RATIOS, measured(curve, 0.02, 1.0, 1), NEAR)
    assert loud.high - loud.low == pytest.approx(calm.high - calm.low, rel=0.2)


def test_kinds() -> None:
    falling = optimum(RATIOS, measured(1 - 0.3 * np.asarray(RATIOS), 0.02, 0.1, 0), NEAR)
    assert (falling.kind, falling.best, falling.position) == ("edge", 1.0, 1.0)
    weak = np.where(np.asarray(RATIOS) < 0.7, 1.3, 1.0)
    assert optimum(RATIOS, measured(weak, 0.05, 0.1, 0), NEAR).kind in ("unsure", "edge")


def test_no_optimum_is_seen_in_noise() -> None:
    kinds = [optimum(RATIOS, measured(np.ones(11), 0.05, 0.2, seed), NEAR).kind for seed in range(40)]
    assert kinds.count("interior") <= 1
    assert kinds.count("flat") >= 34


def test_shares_add_up_and_favour_the_best() -> None:
    best = optimum(RATIOS, measured(ratio_curve(RATIOS, 0.4), 0.05, 0.1, 0), NEAR)
    assert sum(best.shares) == pytest.approx(1.0)
    assert max(best.shares) == best.shares[best.index]


def test_a_score_for_the_whole_set_gets_an_interval_from_its_errors() -> None:
    values = [ScoreValues(float(mean), 0.01, None) for mean in ratio_curve(RATIOS, 0.5)]
    best = optimum(RATIOS, values, FRECHET)
    assert best.low < 0.5 < best.high
    assert best.low > 0.2


def test_higher_and_target_scores() -> None:
    values = measured(-ratio_curve(RATIOS, 0.6), 0.02, 0.1, 0)
    up = Score("good", NEAR.function, "higher")
    assert optimum(RATIOS, values, up).best == pytest.approx(0.6)
    rising = measured(0.2 + 0.2 * np.asarray(RATIOS), 0.01, 0.0, 0)
    assert optimum(RATIOS, rising, Score("b", NEAR.function, 0.3)).best == 0.5


def test_differences_are_paired_and_signed() -> None:
    a, b = measured(np.array([1.0, 1.1]), 0.01, 0.5, 0)
    paired = difference(b, a)
    assert paired.mean == pytest.approx(0.1, abs=0.01)
    assert paired.error < 0.005 < a.error
    assert paired.clear
    assert worse(NEAR, b, a).mean > 0
    assert worse(Score("good", NEAR.function, "higher"), b, a).mean < 0
    loose = difference(ScoreValues(1.1, 0.03), ScoreValues(1.0, 0.04))
    assert (loose.error, loose.pictures) == (pytest.approx(0.05), 0)


def test_one_picture_gives_no_clear_difference() -> None:
    one, other = ScoreValues.of(np.array([1.0])), ScoreValues.of(np.array([2.0]))
    assert not difference(one, other).clear


def test_few_points() -> None:
    xs = np.array([0.0, 1.0])
    assert vertices(xs, np.array([[2.0, 1.0]])).tolist() == [1.0]
    three = vertices(np.array([0.0, 0.5, 1.0]), np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 2.0]]))
    assert three == pytest.approx([0.5, 0.0], abs=1e-2)


def test_refused() -> None:
    values = [ScoreValues(1.0, 0.1)] * 2
    with pytest.raises(BadInput):
        optimum([0.5], values[:1], NEAR)
    with pytest.raises(BadInput):
        optimum([0.5, 0.5], values, NEAR)
    with pytest.raises(BadInput):
        optimum([0.0, 0.5], values, BRIGHTNESS)
