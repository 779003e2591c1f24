"""Scores that need no taste: the digits laboratory knows what was asked for and what real pictures look like.

All of them look at a picture as the 8x8 block means of its colours, and at real digits as the VAE draws them, so that
the drawing itself costs nothing. Accuracy saturates (most pictures of a usable model are read right), so it is shown
beside ``near`` and ``frechet``, never alone. The standard error of a figure stands with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lib_astolfo.demo import digits
from lib_astolfo.errors import BadInput
from lib_astolfo.scoring import frechet as distances
from lib_astolfo.scoring.score import Score, ScoreValues

HELD_OUT_BRIGHTNESS = 0.3152  # mean ink of the 500 held-out digits as the VAE draws them; a test computes it again


@dataclass(frozen=True)
class Reference:
    """Real digits as the VAE draws them, at 8x8.

    ``training`` and ``held_out`` float64 [N,64], ink 0..1; labels int64 [N]; ``classifier`` a fitted scikit-learn SVC;
    ``distance`` float64 [10]: mean over the held-out digits of the distance to the nearest training digit of their
    class.
    """

    training: np.ndarray
    training_labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray
    distance: np.ndarray
    classifier: Any


@lru_cache(maxsize=1)
def reference() -> Reference:
    """Made on first use (half a second), then kept."""
    from sklearn.svm import SVC

    training, held_out = digits.load()
    known, fresh = _drawn(training.grey), _drawn(held_out.grey)
    nearest = np.array(
        [
            _distances(ink, known[training.labels == label]).min()
            for ink, label in zip(fresh, held_out.labels, strict=True)
        ]
    )
    distance = np.array([nearest[held_out.labels == label].mean() for label in range(10)])
    classifier = SVC(C=10.0, gamma=0.06).fit(known, training.labels)
    return Reference(known, training.labels, fresh, held_out.labels, distance, classifier)


def near(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    """Distance to the nearest training picture of the asked digit and colour, over what held-out pictures have.

    1 is as near as real digits that were not trained on; below 1 is nearer to the training set than those (no prompt
    asks for variety), above 1 is wrong, blurred or burnt. Without a colour in the prompt the nearest colour counts.
    """
    blocks, asked, known = shrink(pictures), _asked(pictures, prompts), reference()
    each = []
    for block, want in zip(blocks, asked, strict=True):
        examples = known.training[known.training_labels == want.digit]
        names = [want.colour] if want.colour else list(digits.COLOURS)
        each.append(min(_near_in(block, examples, name) for name in names) / known.distance[want.digit])
    return ScoreValues.of(np.array(each))


def accuracy(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    """Share of the pictures that show the asked digit (a support vector machine reads it) in the asked colour."""
    asked = _asked(pictures, prompts)
    read_digits, read_colours = read(pictures)
    each = [
        digit == want.digit and want.colour in (None, colour)
        for digit, colour, want in zip(read_digits, read_colours, asked, strict=True)
    ]
    return ScoreValues.of(np.array(each, dtype=np.float64))


def frechet(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    """Frechet distance between Gaussians fitted to the ink of the pictures and to the held-out digits asked for.

    Heusel et al. 2017 (arXiv:1706.08500), on 64 pixels in place of Inception features. The held-out digits are
    weighted by how often the prompts ask for each. It grows as the number of pictures falls: compare equal numbers
    only. The standard error is a jackknife over 16 groups and knows nothing of that bias. At least 32 pictures.
    """
    ink = shrink(pictures).max(axis=1)
    if len(ink) < distances.LEAST:
        raise BadInput("score frechet", f"{len(ink)} pictures", f"at least {distances.LEAST}")
    known = reference()
    counts = np.bincount([want.digit for want in _asked(pictures, prompts)], minlength=10)
    shares = (counts / np.bincount(known.held_out_labels, minlength=10))[known.held_out_labels]
    mean, error, _ = distances.jackknifed(ink, distances.gaussian(known.held_out, shares))
    return ScoreValues(mean, error, None)


def brightness(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    """Mean ink (the strongest colour of each block), 0 to 1; too much guidance raises it above the real digits'."""
    return ScoreValues.of(shrink(pictures).max(axis=1).mean(axis=1))


def shrink(pictures: np.ndarray) -> np.ndarray:
    """uint8 [N,H,W,3] → float64 [N,3,64] in 0..1: the means of 8x8 equal blocks.

    Raises:
        BadInput: not uint8 pictures with sides that are multiples of 8.
    """
    shape = pictures.shape
    if pictures.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[1] % 8 or shape[2] % 8 or 0 in shape:
        raise BadInput("pictures", f"{pictures.dtype} {shape}", "uint8 [N,H,W,3], H and W multiples of 8")
    blocks = pictures.reshape(shape[0], 8, shape[1] // 8, 8, shape[2] // 8, 3).mean(axis=(2, 4)) / 255
    return blocks.transpose(0, 3, 1, 2).reshape(shape[0], 3, 64)


def read(pictures: np.ndarray) -> tuple[list[int], list[str]]:
    """What the pictures show: the digit and the name of the stroke colour (nearest direction in rgb) of each."""
    blocks = shrink(pictures)
    ink = blocks.max(axis=1)
    strokes = (blocks * ink[:, None]).sum(axis=2)
    names = list(digits.COLOURS)
    directions = np.array(list(digits.COLOURS.values()))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    colours = [names[index] for index in (strokes @ directions.T).argmax(axis=1)]
    return [int(label) for label in reference().classifier.predict(ink)], colours


def real_pictures(count: int, *, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Held-out digits as the VAE draws them, uint8 [N,64,64,3], with prompts that ask for them; at most 500."""
    order = np.random.RandomState(seed).permutation(digits.HELD_OUT)[:count]
    _, held_out = digits.load()
    names = [list(digits.COLOURS)[index % len(digits.COLOURS)] for index in range(len(order))]
    painted = digits.paint(_rendered(held_out.grey[order]), names)
    prompts = [digits.caption(1, int(held_out.labels[row]), name) for row, name in zip(order, names, strict=True)]
    return (painted.transpose(0, 2, 3, 1) * 255).round().astype(np.uint8), prompts


DIGIT_SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score("near", near, "lower", "", "distance to the nearest real picture of what was asked; 1 as real pictures"),
        Score("accuracy", accuracy, "higher", "", "asked digit in the asked colour; saturates, never alone", 1.0),
        Score(
            "frechet",
            frechet,
            "lower",
            "",
            "pixel Frechet distance to real digits; compare equal numbers only",
            least=distances.LEAST,
        ),
        Score(
            "brightness", brightness, HELD_OUT_BRIGHTNESS, "", f"mean ink; real digits have {HELD_OUT_BRIGHTNESS:.3f}"
        ),
    )
}


def _asked(pictures: np.ndarray, prompts: Sequence[str]) -> list[digits.Asked]:
    if len(pictures) != len(prompts):
        raise BadInput("prompts", len(prompts), f"one for each of the {len(pictures)} pictures")
    return [digits.parse(prompt) for prompt in prompts]


def _rendered(grey: np.ndarray) -> np.ndarray:
    import torch

    from lib_astolfo.demo.vae import render

    return np.asarray(render(torch.from_numpy(grey)).numpy())


def _drawn(grey: np.ndarray) -> np.ndarray:
    """Grey [N,8,8] → the ink [N,64] of the drawn pictures, rounded to 8 bit as pictures are."""
    drawn = np.round(_rendered(grey) * 255) / 255
    return drawn.reshape(len(grey), 8, 8, 8, 8).mean(axis=(2, 4)).reshape(len(grey), 64).astype(np.float64)


def _distances(ink: np.ndarray, examples: np.ndarray) -> np.ndarray:
    return np.linalg.norm(examples - ink, axis=1)


def _near_in(block: np.ndarray, examples: np.ndarray, colour: str) -> float:
    """Distance of a picture [3,64] to the nearest example in a colour, per root of the colour's channels."""
    rgb = np.array(digits.COLOURS[colour])
    distances = np.linalg.norm(rgb[None, :, None] * examples[:, None] - block, axis=(1, 2))
    return float(distances.min() / np.sqrt(rgb.sum()))
