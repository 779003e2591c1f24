"""The detectors tell what has failed from what has not, on pictures made with other seeds than the limits were."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lib_astolfo.demo.scores import real_pictures
from lib_astolfo.scoring.detectors import DETECTORS, degree

from . import families as f


def values(name: str, pictures: np.ndarray) -> np.ndarray:
    each = DETECTORS[name].measure(pictures, [""] * len(pictures)).each
    assert each is not None
    return each


@pytest.fixture(scope="module")
def good() -> dict[str, np.ndarray]:
    return {
        "natural": f.natural(8, 101),
        "soft natural": f.natural(8, 102, slope=1.25),
        "rough natural": f.natural(8, 103, slope=0.8),
        "colourful natural": f.natural(8, 104, colour=0.5),
        "illustrations": f.illustrations(24, 105),
        "illustrations without lines": f.illustrations(24, 106, lines=False),
        "photographs": f.photographs(),
        "digits": real_pictures(24, seed=3)[0],
    }


@pytest.mark.parametrize("name", DETECTORS)
def test_pictures_that_show_something_pass(good: dict[str, np.ndarray], name: str) -> None:
    for family, pictures in good.items():
        each = values(name, pictures)
        assert each.mean() < 0.12, f"{name} of {family}: {each.mean():.2f}"
        assert (each < 0.5).all(), f"{name} of {family}: {(each >= 0.5).sum()} of {len(each)}"


def broken() -> dict[str, tuple[str, Callable[[dict[str, np.ndarray]], np.ndarray]]]:
    made: dict[str, tuple[str, Callable[[dict[str, np.ndarray]], np.ndarray]]] = {
        "blank": ("blank", lambda good: f.blank(8, 107)),
        "noise of pixels": ("noise", lambda good: f.noise(4, 108)),
        "noise of cells": ("noise", lambda good: f.noise(4, 109, 4)),
        "fragments": ("patches", lambda good: f.fragments(6, 110)),
        "large fragments": ("patches", lambda good: f.fragments(6, 111, 40)),
        "noise in latents": ("patches", lambda good: f.noise(4, 112, 8)),
    }
    for family in ("natural", "illustrations", "photographs"):
        made |= {
            f"blurred {family}": ("blur", lambda good, family=family: f.blurred(good[family][:8], 0.1)),
            f"noise on {family}": ("noise", lambda good, family=family: f.noisy(good[family][:8], 0.15, 113)),
            f"patches on {family}": ("patches", lambda good, family=family: f.patched(good[family][:8], 114)),
            f"narrow stripes, {family}": ("stripes", lambda good, family=family: f.striped(good[family][:8], 115, 6)),
            f"wide stripes, {family}": ("stripes", lambda good, family=family: f.striped(good[family][:8], 116, 26)),
        }
    return made


@pytest.mark.parametrize("case", broken())
def test_failures_are_named(good: dict[str, np.ndarray], case: str) -> None:
    name, make = broken()[case]
    each = values(name, make(good))
    assert each.mean() > 0.85, f"{name} of {case}: {each.mean():.2f}"


def test_what_is_blank_is_no_blur_and_stripes_are_no_noise(good: dict[str, np.ndarray]) -> None:
    assert values("blur", f.blank(4, 117)).max() < 0.1
    assert values("noise", f.striped(good["natural"], 118)).max() < 0.1
    assert values("stripes", f.noise(4, 119)).max() < 0.1


def test_size_of_a_picture_does_not_matter(good: dict[str, np.ndarray]) -> None:
    for name, made in (("blur", f.blurred(good["photographs"], 0.1)), ("patches", f.fragments(6, 120))):
        large = np.stack([np.asarray(Image.fromarray(one).resize((512, 384))) for one in made])
        assert values(name, large).mean() > 0.85
    tiny = np.stack([np.asarray(Image.fromarray(one).resize((24, 24))) for one in good["illustrations"]])
    assert all(values(name, tiny).mean() < 0.25 for name in ("blank", "noise", "patches", "stripes"))


def test_more_blur_is_worse() -> None:
    picture = Image.fromarray(f.photographs()[1])
    rising = [
        values("blur", np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)))[None])[0]
        for radius in (0, 4, 16, 40)
    ]
    assert rising == sorted(rising) and rising[0] < 0.05 and rising[-1] > 0.9


def test_degree_is_a_half_at_the_limit_and_bounded() -> None:
    assert degree(0.3, 0.3, 0.1) == pytest.approx(0.5)
    assert degree(1e9, 0.3, 0.1) == pytest.approx(1.0) and degree(-1e9, 0.3, 0.1) == pytest.approx(0.0)
    assert degree(0.6, 0.3, 0.1) > 0.95


def test_they_warn_and_do_not_choose() -> None:
    assert all(score.alarm and score.better == "lower" and score.limit == 0.0 for score in DETECTORS.values())
