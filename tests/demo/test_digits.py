"""The data: always the same digits, never a held-out one in training, captions that can be read back."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lib_astolfo.demo import digits
from lib_astolfo.errors import BadInput


def test_the_split_is_fixed_and_shares_no_picture() -> None:
    from sklearn.datasets import load_digits

    training, held_out = digits.load()
    assert (len(training), len(held_out)) == (1297, 500)
    every = np.concatenate([training.grey, held_out.grey]).reshape(1797, 64)
    real = (load_digits().images / 16).astype(np.float32).reshape(1797, 64)
    assert Counter(map(bytes, every)) == Counter(map(bytes, real))
    assert training.labels[:8].tolist() == [0, 7, 9, 5, 8, 1, 3, 3]  # the permutation that the shipped models had
    assert np.bincount(held_out.labels).min() >= 35


def test_there_are_160_captions_and_each_says_what_it_asks_for() -> None:
    every = digits.captions()
    assert len(every) == len(set(every)) == 160
    for form in range(4):
        for digit in range(10):
            for colour in digits.COLOURS:
                asked = digits.parse(digits.caption(form, digit, colour))
                assert asked == digits.Asked(digit, colour if form else None)
    assert {digits.caption(0, 7, "red"), digits.caption(3, 7, "red"), "seven, red", "red seven"} <= set(every)


@pytest.mark.parametrize("prompt", ["", "red", "a cat", "red seven eight", "red blue seven", "sevens"])
def test_prompts_that_name_no_single_digit_are_refused(prompt: str) -> None:
    with pytest.raises(BadInput, match="one digit word"):
        digits.parse(prompt)


def test_prompts_are_even_and_repeatable() -> None:
    first = digits.prompts(128, seed=4)
    assert first == digits.prompts(128, seed=4) != digits.prompts(128, seed=5)
    assert first[:64] == digits.prompts(64, seed=4)
    counts = Counter(first)
    assert len(counts) == 50
    assert set(counts.values()) == {2, 3}


def test_paint_puts_the_grey_into_the_colours_channels() -> None:
    grey = np.full((2, 1, 1), 0.5, dtype=np.float32)
    assert digits.paint(grey, ["yellow", "blue"])[:, :, 0, 0].tolist() == [[0.5, 0.5, 0], [0, 0, 0.5]]
