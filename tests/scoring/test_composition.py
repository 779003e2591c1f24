"""Agreement of composition: the same picture in another style agrees, another picture does not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.composition import agreement, make
from lib_astolfo.scoring.score import ScoreContext

from . import families


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.concatenate([families.illustrations(6, 31), families.photographs()[:6]])


def test_the_same_picture_agrees_whatever_its_size_light_and_detail(pictures: np.ndarray) -> None:
    for one in pictures:
        image = Image.fromarray(one)
        assert agreement(one, one) == pytest.approx(1.0, abs=0.01)
        assert agreement(one, np.asarray(image.resize((512, 512)))) > 0.97
        assert agreement(one, np.asarray(image.filter(ImageFilter.GaussianBlur(3)))) > 0.9
        assert agreement(one, (one * 0.7 + 30).astype(np.uint8)) > 0.85
        assert agreement(one, families.noisy(one[None], 0.1, 5)[0]) > 0.8


def test_other_pictures_and_other_arrangements_do_not(pictures: np.ndarray) -> None:
    own = [agreement(one, families.blurred(one[None], 0.01)[0]) for one in pictures]
    other = [agreement(one, two) for one, two in zip(pictures[:6], pictures[6:], strict=True)]
    turned = [agreement(one, one[::-1]) for one in pictures]
    assert max(other) < 0.6 < min(own)
    assert np.mean(turned) < 0.35 and max(turned) < min(own)
    assert abs(agreement(pictures[0], np.full_like(pictures[0], 128))) < 0.3


def test_it_falls_as_a_picture_becomes_another(pictures: np.ndarray) -> None:
    one, other = pictures[1].astype(float), pictures[8].astype(float)
    found = [agreement(pictures[1], ((1 - t) * one + t * other).astype(np.uint8)) for t in (0, 0.25, 0.5, 0.75, 1)]
    assert found == sorted(found, reverse=True)


def test_pictures_are_compared_one_by_one_and_a_reference_is_needed(pictures: np.ndarray) -> None:
    score = make("composition")
    found = score.measure(pictures[:2], ["a", "b"], ScoreContext(pictures[[0, 7]]))
    assert found.each is not None and found.each[0] > 0.99 > 0.6 > found.each[1]
    assert not score.decides, "the base itself would always win"
    for context in (None, ScoreContext(), ScoreContext(pictures[:3])):
        with pytest.raises(BadInput, match="reference"):
            score.measure(pictures[:2], ["a", "b"], context)
    assert score.measure(pictures[:1], ["a"], ScoreContext(pictures).first(1)).mean > 0.99
