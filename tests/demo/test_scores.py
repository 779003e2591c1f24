"""The scores on real pictures, where their values are known, and on pictures that were spoiled in a known way."""

from __future__ import annotations

import numpy as np
import pytest

from lib_astolfo.demo import digits, scores
from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.score import Score, ScoreValues


@pytest.fixture(scope="module")
def real() -> tuple[np.ndarray, list[str]]:
    return scores.real_pictures(500)


def value(name: str, pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    return scores.DIGIT_SCORES[name].function(pictures, prompts)


def test_held_out_pictures_have_the_scores_of_real_ones(real: tuple[np.ndarray, list[str]]) -> None:
    near, accuracy, frechet, brightness = (value(name, *real) for name in ("near", "accuracy", "frechet", "brightness"))
    assert near.mean == pytest.approx(1.0, abs=0.001)
    assert near.error == pytest.approx(0.0104, abs=0.001)
    assert accuracy.mean >= 0.98
    assert frechet.mean == pytest.approx(0.0, abs=0.001)
    assert brightness.mean == pytest.approx(scores.HELD_OUT_BRIGHTNESS, abs=5e-4)


def test_training_pictures_are_at_distance_zero() -> None:
    training, _ = digits.load()
    colours = [list(digits.COLOURS)[index % 5] for index in range(40)]
    painted = digits.paint(scores._rendered(training.grey[:40]), colours).transpose(0, 2, 3, 1)
    prompts = [f"{name} {digits.DIGITS[label]}" for name, label in zip(colours, training.labels, strict=False)]
    near = value("near", (painted * 255).round().astype(np.uint8), prompts)
    assert near.each is not None
    assert near.each.max() < 1e-6


def test_what_was_asked_counts(real: tuple[np.ndarray, list[str]]) -> None:
    pictures, prompts = real[0][:64], real[1][:64]
    asked = [digits.parse(prompt) for prompt in prompts]
    other_digit = [f"{want.colour} {digits.DIGITS[(want.digit + 1) % 10]}" for want in asked]
    other_colour = [f"{'red' if want.colour != 'red' else 'blue'} {digits.DIGITS[want.digit]}" for want in asked]
    any_colour = [digits.DIGITS[want.digit] for want in asked]
    right = value("near", pictures, prompts).mean
    for wrong in (other_digit, other_colour):
        assert value("accuracy", pictures, wrong).mean < 0.05
        assert value("near", pictures, wrong).mean > 1.5 * right
    assert value("near", pictures, any_colour).mean == pytest.approx(right)
    assert value("accuracy", pictures, any_colour).mean >= 0.95


def test_spoiled_pictures_score_worse_in_the_expected_order(real: tuple[np.ndarray, list[str]]) -> None:
    pictures, prompts = real[0][:128], real[1][:128]
    burnt = np.minimum(pictures.astype(np.float64) * 1.5 + 60, 255).astype(np.uint8)
    noise = np.random.RandomState(0).randint(0, 256, pictures.shape).astype(np.uint8)
    for name in ("near", "frechet"):
        good, bad, worst = (value(name, each, prompts).mean for each in (pictures, burnt, noise))
        assert good < bad < worst
    assert value("brightness", burnt, prompts).mean > scores.HELD_OUT_BRIGHTNESS + 0.1
    assert value("accuracy", noise, prompts).mean < 0.3


def test_frechet_weighs_the_real_digits_as_the_prompts_do(real: tuple[np.ndarray, list[str]]) -> None:
    sevens = [row for row, prompt in enumerate(real[1]) if prompt.endswith("seven")]
    only = value("frechet", real[0][sevens], [real[1][row] for row in sevens])
    as_all = value(
        "frechet", real[0][sevens], [prompt.replace("seven", "one") for prompt in (real[1][row] for row in sevens)]
    )
    assert only.mean == pytest.approx(0.0, abs=0.01)
    assert as_all.mean > 1.0


def test_frechet_grows_as_pictures_get_fewer_and_says_so_in_its_help(real: tuple[np.ndarray, list[str]]) -> None:
    few, many = (value("frechet", real[0][:count], real[1][:count]).mean for count in (48, 256))
    assert few > 2 * many
    assert "equal numbers" in scores.DIGIT_SCORES["frechet"].help


def test_the_jackknife_error_has_the_size_of_the_spread(real: tuple[np.ndarray, list[str]]) -> None:
    values = []
    for seed in range(12):
        pictures, prompts = scores.real_pictures(128, seed=seed)
        noisy = np.clip(pictures.astype(int) + 30, 0, 255).astype(np.uint8)
        values.append(value("frechet", noisy, prompts))
    spread = np.std([each.mean for each in values], ddof=1)
    assert 0.4 < np.mean([each.error for each in values]) / spread < 2.5


def test_the_registry_is_in_the_shape_that_the_search_wants() -> None:
    assert list(scores.DIGIT_SCORES) == ["near", "accuracy", "frechet", "brightness"]
    for name, score in scores.DIGIT_SCORES.items():
        assert isinstance(score, Score)
        assert score.name == name
        assert score.help
    assert [scores.DIGIT_SCORES[name].better for name in ("near", "accuracy", "frechet")] == [
        "lower",
        "higher",
        "lower",
    ]
    known = scores.reference()
    assert known.held_out.mean() == pytest.approx(scores.HELD_OUT_BRIGHTNESS, abs=1e-4)
    assert known.classifier.score(known.held_out, known.held_out_labels) >= 0.98


def test_bad_pictures_and_prompts_are_refused(real: tuple[np.ndarray, list[str]]) -> None:
    pictures, prompts = real[0][:4], real[1][:4]
    with pytest.raises(BadInput, match="one for each of the 4 pictures"):
        value("near", pictures, prompts[:3])
    with pytest.raises(BadInput, match="uint8"):
        value("brightness", pictures.astype(np.float32), prompts)
    with pytest.raises(BadInput, match="multiples of 8"):
        value("accuracy", pictures[:, :60], prompts)
    with pytest.raises(BadInput, match="at least 32"):
        value("frechet", pictures, prompts)
    with pytest.raises(BadInput, match="one digit word"):
        value("near", pictures, ["a cat"] * 4)
