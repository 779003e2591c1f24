"""Whether a picture has the composition of another one: the same light and dark in the same places, seen from afar."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.features import luma
from lib_astolfo.scoring.score import Score, ScoreContext, ScoreValues

SIDE = 64  # pixels of what is compared
BLUR = 3.0  # of them, standard deviation: what is smaller is detail
WINDOW = 1.5  # pixels of 32, standard deviation of the windows of the structural similarity
STABLE = (0.01**2, 0.03**2)  # Wang et al. 2004, for values in 0 to 1


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """How far two pictures uint8 [H,W,3] (of any sizes) are composed alike: 1 the same, about 0 unrelated ones.

    The mean of two figures, each at most 1: the correlation of the blurred luma, which does not see light that is
    brighter or stronger everywhere, and the mean structural similarity (Wang et al. 2004, IEEE Trans. Image Process.
    13, 600) of the luma at 32 pixels.
    """
    small = [_small(picture) for picture in (one, other)]
    blurred = [_smoothed(picture, BLUR) for picture in small]
    halves = [picture.reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3)) for picture in small]
    return (_correlation(*blurred) + _similarity(*halves)) / 2.0


def composition(pictures: np.ndarray, prompts: list[str], context: ScoreContext) -> ScoreValues:
    """Agreement with the reference's picture of the same prompt and seed, one by one."""
    if context.reference is None:
        raise BadInput("score composition: reference", "none", "the pictures to compare with")
    return ScoreValues.of(np.array([agreement(*pair) for pair in zip(pictures, context.reference, strict=True)]))


def make(name: str, mark: str = "") -> Score:
    """The score; it points nowhere, since the base alone always agrees best with itself."""
    words = "same composition as the reference's picture of the same prompt and seed (the base's own): 1 the same, "
    return Score(name, composition, "none", "", words + "0 unrelated", compares=True, mark=mark)


def _small(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX)
    return luma(np.asarray(image, dtype=np.float64) / 255.0)


def _smoothed(plane: np.ndarray, deviation: float) -> np.ndarray:
    """A Gaussian blur; at the borders of what there is."""
    at = np.arange(len(plane))
    weights = np.exp(-0.5 * ((at[:, None] - at) / deviation) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(weights @ plane @ weights.T)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one - one.mean(), other - other.mean()
    power = float((a**2).mean() * (b**2).mean())
    return float((a * b).mean()) / (power**0.5 + 1e-5)  # two pictures of one colour have nothing in common


def _similarity(one: np.ndarray, other: np.ndarray) -> float:
    means = [_smoothed(plane, WINDOW) for plane in (one, other)]
    squares = [_smoothed(plane**2, WINDOW) - mean**2 for plane, mean in zip((one, other), means, strict=True)]
    product = _smoothed(one * other, WINDOW) - means[0] * means[1]
    light = (2 * means[0] * means[1] + STABLE[0]) / (means[0] ** 2 + means[1] ** 2 + STABLE[0])
    return float((light * (2 * product + STABLE[1]) / (squares[0] + squares[1] + STABLE[1])).mean())
