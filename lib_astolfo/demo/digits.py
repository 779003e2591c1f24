"""The data of the digits laboratory: scikit-learn's handwritten digits, coloured, with captions.

``sklearn.datasets.load_digits`` (E. Alpaydin and C. Kaynak 1998, UCI "Optical Recognition of Handwritten Digits")
comes inside the scikit-learn package: 1797 pictures of 8x8, 17 grey levels. A fixed permutation keeps 500 of them away
from training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lib_astolfo.errors import BadInput

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS: dict[str, tuple[float, float, float]] = {
    "white": (1.0, 1.0, 1.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
}
FORMS = ("{digit}", "{colour} {digit}", "{digit}, {colour}", "a {colour} {digit}")
TRAINING, HELD_OUT = 1297, 500
_SPLIT_SEED = 20


@dataclass(frozen=True)
class Digits:
    """Grey pictures and what they show.

    ``grey`` float32 [N,8,8], 0 paper to 1 ink; ``labels`` int64 [N], the digit.
    """

    grey: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Asked:
    """What a prompt asks for; ``colour`` is None when any will do."""

    digit: int
    colour: str | None


@lru_cache(maxsize=1)
def load() -> tuple[Digits, Digits]:
    """(training, held out): 1297 and 500 digits, always the same."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(bunch.target))
    grey = (bunch.images[order] / 16).astype(np.float32)
    labels = bunch.target[order].astype(np.int64)
    return Digits(grey[:TRAINING], labels[:TRAINING]), Digits(grey[TRAINING:], labels[TRAINING:])


def caption(form: int, digit: int, colour: str) -> str:
    """The words for a digit in a colour; form 0 leaves the colour out. ``caption(3, 7, "red")`` is "a red seven"."""
    return FORMS[form].format(digit=DIGITS[digit], colour=colour)


def captions() -> tuple[str, ...]:
    """All 160 different captions of the training, in a fixed order."""
    every = (caption(form, digit, name) for form in range(len(FORMS)) for digit in range(10) for name in COLOURS)
    return tuple(dict.fromkeys(every))


def prompts(count: int, *, seed: int = 0) -> list[str]:
    """Prompts for a measurement ("red seven"): digits and colours as even as ``count`` allows, shuffled."""
    pairs = [f"{colour} {digit}" for digit in DIGITS for colour in COLOURS]
    order = np.random.RandomState(seed)
    rounds = -(-count // len(pairs))
    return [pairs[index] for _ in range(rounds) for index in order.permutation(len(pairs))][:count]


def parse(prompt: str) -> Asked:
    """The digit and the colour that a prompt asks for.

    Raises:
        BadInput: no digit word, or more than one digit or colour word.
    """
    words = prompt.lower().replace(",", " ").split()
    digits = [DIGITS.index(word) for word in words if word in DIGITS]
    names = [word for word in words if word in COLOURS]
    if len(set(digits)) != 1 or len(set(names)) > 1:
        colours = ", ".join(COLOURS)
        raise BadInput("prompt", repr(prompt), f"one digit word, zero to nine, and at most one of {colours}")
    return Asked(digits[0], names[0] if names else None)


def paint(grey: np.ndarray, colours: list[str]) -> np.ndarray:
    """Grey [N,H,W] in the named colours → rgb [N,3,H,W], on black."""
    rgb = np.array([COLOURS[name] for name in colours], dtype=grey.dtype)
    return rgb[:, :, None, None] * grey[:, None]
