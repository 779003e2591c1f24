"""The scores that need no taste, on pictures of which the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.general import SCORES
from lib_astolfo.scoring.score import Score, ScoreValues, choose


def flat(*colour: int) -> np.ndarray:
    return np.full((3, 16, 16, 3), colour, dtype=np.uint8)


def value(name: str, pictures: np.ndarray) -> float:
    return SCORES[name].function(pictures, [""] * len(pictures)).mean


def test_known_pictures() -> None:
    assert value("brightness", flat(255, 255, 255)) == pytest.approx(1.0)
    assert value("brightness", flat(0, 255, 0)) == pytest.approx(0.587)
    assert value("saturation", flat(255, 0, 0)) == pytest.approx(1.0)
    assert value("saturation", flat(90, 90, 90)) == pytest.approx(0.0)
    assert value("contrast", flat(10, 200, 30)) == pytest.approx(0.0)
    assert value("clipping", flat(0, 128, 255)) == pytest.approx(2 / 3)


def test_sharpness_falls_with_blur_and_ignores_contrast() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (4, 32, 32, 1)).repeat(3, axis=3).astype(np.uint8)
    blurred = sum(np.roll(noise.astype(float), s, axis=a) for s in (-1, 0, 1) for a in (1, 2)) / 6
    assert value("sharpness", noise) > 2 * value("sharpness", blurred.astype(np.uint8))
    assert value("sharpness", noise // 4) == pytest.approx(value("sharpness", noise), rel=0.05)


def test_error_is_that_of_the_mean_and_unknown_for_one_picture() -> None:
    values = ScoreValues.of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert values.error == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)
    assert math.isnan(ScoreValues.of(np.array([1.0])).error)


def test_loss_points_down_whatever_the_side() -> None:
    def function(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        return ScoreValues.of(np.zeros(len(pictures)))

    each = np.array([0.1, 0.4])
    assert Score("x", function, "lower").loss(each).argmin() == 0
    assert Score("x", function, "higher").loss(each).argmin() == 1
    assert Score("x", function, 0.35).loss(each).argmin() == 1
    assert not Score("x", function).decides
    with pytest.raises(BadInput):
        Score("x", function, "bigger")


def test_unknown_score_is_named_with_what_there_is() -> None:
    with pytest.raises(BadInput, match=r"'beauty'.*brightness"):
        choose(["brightness", "beauty"], SCORES)
