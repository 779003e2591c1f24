"""The settings: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from lib_astolfo.diffusion.guidance import Guidance
from lib_astolfo.diffusion.sampling import PREDICTIONS, Sampling
from lib_astolfo.diffusion.uncond import MODES, Uncond
from lib_astolfo.errors import BadInput

GOOD = [
    (Sampling(), "eps"),
    (Sampling("v", True), "v ZTSNR"),
    (Sampling("rf", shift=3), "rf shift 3"),
    (Sampling("mixed", mixed_weight=0.25), "mixed 0.25"),
    (Sampling("x0", zero_terminal_snr=True), "x0 ZTSNR"),
]


@pytest.mark.parametrize(("sampling", "words"), GOOD, ids=[words for _, words in GOOD])
def test_good_sampling_survives_the_round_trip(sampling: Sampling, words: str) -> None:
    assert sampling.describe() == words
    assert Sampling.from_dict(sampling.to_dict()) == sampling
    assert pickle.loads(pickle.dumps(sampling)) == sampling


@pytest.mark.parametrize(
    ("values", "where", "expected"),
    [
        ({"prediction": "epsilon"}, "prediction", "one of " + ", ".join(PREDICTIONS)),
        ({"prediction": "eps", "zero_terminal_snr": True}, "zero_terminal_snr", "use v"),
        ({"prediction": "mixed", "mixed_weight": 0, "zero_terminal_snr": True}, "zero_terminal_snr", "use v"),
        ({"prediction": "rf", "zero_terminal_snr": True}, "zero_terminal_snr", "pure noise already"),
        ({"zero_terminal_snr": "yes"}, "zero_terminal_snr", "true or false"),
        ({"prediction": "v", "shift": 3}, "shift", "only rf"),
        ({"prediction": "rf", "shift": 0}, "shift", "0.01 to 100"),
        ({"prediction": "rf", "shift": float("nan")}, "shift", "0.01 to 100"),
        ({"prediction": "rf", "shift": 10**400}, "shift", "0.01 to 100"),
        ({"prediction": "rf", "shift": "3"}, "shift", "0.01 to 100"),
        ({"prediction": "rf", "shift": True}, "shift", "0.01 to 100"),
        ({"prediction": "mixed", "mixed_weight": 1.5}, "mixed_weight", "0 \\(eps\\) to 1"),
        ({"prediction": "v", "mixed_weight": 0.2}, "mixed_weight", "only mixed"),
        ({"predictoin": "v"}, "sampling.predictoin", "prediction"),
    ],
)
def test_bad_sampling_is_refused(values: dict[str, Any], where: str, expected: str) -> None:
    with pytest.raises(BadInput, match=expected) as caught:
        Sampling.from_dict(values)
    assert caught.value.where == where


@pytest.mark.parametrize("mode", MODES)
def test_uncond_survives_the_round_trip(mode: str) -> None:
    uncond = Uncond(mode, weight=0.7, text="blurry", start=0.2, end=0.8)
    assert Uncond.from_dict(uncond.to_dict()) == uncond
    assert pickle.loads(pickle.dumps(uncond)) == uncond


@pytest.mark.parametrize(
    ("values", "where", "expected"),
    [
        ({"mode": "none"}, "uncond", "zero"),
        ({"mode": "text"}, "uncond text", "null"),
        ({"mode": "text", "text": 3}, "uncond text", "a text"),
        ({"mode": "text", "text": "\ud800"}, "uncond text", "UTF-8"),
        ({"mode": "average", "weight": 1.01}, "uncond weight", "0 to 1"),
        ({"mode": "average", "weight": float("nan")}, "uncond weight", "0 to 1"),
        ({"mode": "average", "weight": 10**400}, "uncond weight", "0 to 1"),
        ({"mode": "zero", "start": -0.1}, "uncond start", "0 to 1"),
        ({"mode": "zero", "start": 0.5, "end": 0.5}, "uncond start", "less than"),
        ({"mode": "zero", "end": 20}, "uncond end", "0 to 1"),
        ({"modus": "zero"}, "uncond.modus", "mode"),
    ],
)
def test_bad_uncond_is_refused(values: dict[str, Any], where: str, expected: str) -> None:
    with pytest.raises(BadInput, match=expected) as caught:
        Uncond.from_dict(values)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("uncond", "words", "ignored"),
    [
        (Uncond(), "host", ()),
        (Uncond(start=0.5), "host", ("range",)),
        (Uncond("average", weight=0.7, start=0.2), "average 0.7, 20-100 %", ()),
        (Uncond("text", text="bad", weight=0.5), "text 'bad'", ("weight",)),
        (Uncond("zero", weight=0.7, text="bad"), "zero", ("weight", "text")),
    ],
)
def test_uncond_says_what_it_is_and_what_does_nothing(uncond: Uncond, words: str, ignored: tuple[str, ...]) -> None:
    assert uncond.describe() == words
    assert uncond.ignored == ignored


@pytest.mark.parametrize("values", [{"scale": float("inf")}, {"scale": 10**400}, {"scale": "7"}, {"rescale": 1.1}])
def test_bad_guidance_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="a number from"):
        Guidance(**values)
