"""Detectors of pictures that have failed: nothing there, a blur, noise, patches of colour, stripes behind everything.

Each value is near 0 for a picture that has not failed and near 1 for one that has, 0.5 at its limit, so that the mean
over the pictures is about the share that failed. They warn (``Score.alarm``); a picture that passes is not a good one.

The limits were set between families of pictures whose state is known (``tests/scoring/families.py`` makes them again):
fields with the spectrum of photographs (amplitude 1/f, Field 1987, J. Opt. Soc. Am. A 4, 2379), photographs,
illustrations in flat colours, real digits; and those blurred, with noise, patches and stripes added, or nothing else.

What these figures cannot see: whether a picture shows something. Abstract art with sharp forms in harmless colours has
the figures of any illustration; it takes a model that knows words (the score ``clip``) or a look at the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from lib_astolfo.scoring.features import band, luma, planes, pooled, thumbnail
from lib_astolfo.scoring.score import Score, ScoreFunction, ScoreValues

BLANK, BLANK_WIDTH = math.log(0.02), 0.15  # logarithm of the standard deviation, of 1; 0.02 is five steps of 255
BLUR, BLUR_WIDTH = math.log(0.025), 0.12  # logarithm of the share of forms below a sixteenth of the side
NOISE, NOISE_WIDTH = 0.095, 0.006  # standard deviation of what is uncorrelated between neighbours
PATCHES, PATCHES_WIDTH = 0.28, 0.015  # share of the picture's 16 parts
STRIPES, STRIPES_WIDTH = 0.4, 0.04  # share of the forms' energy that one frequency has everywhere
STRAY, STRAY_LIGHT = 0.05, 0.3  # of a part: standard deviation of the weaker colour direction, and against its light
STRIPE_SIDE, WINDOW, STRIPE_LOW, STRIPE_LEAST = 128, 32, 3.0, 0.04


def degree(value: float, limit: float, width: float) -> float:
    """0 to 1, rising through 0.5 at ``limit``; nine tenths of it within 3 ``width`` on either side."""
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, (value - limit) / width))))


def blank(image: Image.Image) -> float:
    """One colour: black, white, grey, with a little grain at most."""
    whole = _planes(np.asarray(image, dtype=np.float64) / 255.0)
    deviation = math.sqrt(float(whole.reshape(-1, 3).var(axis=0).sum()))
    return degree(-math.log(deviation + 1e-9), -BLANK, BLANK_WIDTH)


def blur(image: Image.Image) -> float:
    """A blur without content: forms finer than a sixteenth of the side have next to no part in the picture.

    A soft drawing, fog and shallow focus keep some; a plain gradient is one, and cannot be told from it.
    """
    whole = _planes(thumbnail(image))
    total = float(whole.reshape(-1, 3).var(axis=0).sum())
    fine = math.log((band(whole, 2) + band(whole, 4) + 1e-9) / (total + 1e-7))
    return degree(-fine, -BLUR, BLUR_WIDTH) * (1.0 - blank(image))


def noise(image: Image.Image) -> float:
    """Noise, fine or coarse, alone or left over on a picture.

    White noise halves with every halving of the size; what a picture shows does not. The medians of the diagonal
    differences (Donoho and Johnstone 1994) pass over edges; those of two sizes give what is uncorrelated, at the size
    of pixels and at that of the latents' cells. A regular pattern is none.
    """
    pixels = _planes(np.asarray(image, dtype=np.float64) / 255.0)
    found = max(uncorrelated(pixels), uncorrelated(_planes(thumbnail(image))))
    value = degree(found, NOISE, NOISE_WIDTH)
    return value * (1.0 - stripes(image)) if value > 0.01 else value


def patches(image: Image.Image) -> float:
    """Patches or fragments of colours that have nothing to do with each other, in a third of the picture or more.

    In a part of a photograph or a drawing colours lie near one line, or are weaker than light and shade; in patches
    they scatter in both directions, a third as strongly as the light at least.
    A few large areas of one strong colour each, as an eps model read as something else may leave, are not enough.
    """
    light, colours = planes(thumbnail(image))
    height, width = (max(side // 4, 1) for side in light.shape)
    parts = [
        _stray(light[y : y + height, x : x + width], colours[y : y + height, x : x + width])
        for y in range(0, height * 4, height)
        for x in range(0, width * 4, width)
    ]
    return degree(float(np.mean(parts)), PATCHES, PATCHES_WIDTH)


def stripes(image: Image.Image) -> float:
    """Stripes or a regular pattern over much of the picture, with a period of a fiftieth to a tenth of the side.

    A real pattern (a fence, bricks, a striped dress that fills the picture) is one too.
    """
    scale = STRIPE_SIDE / max(image.size)
    size = (max(WINDOW, round(image.width * scale)), max(WINDOW, round(image.height * scale)))
    light = luma(np.asarray(image.resize(size, Image.Resampling.BOX), dtype=np.float64) / 255.0)
    return degree(_one_frequency(light), STRIPES, STRIPES_WIDTH)


def uncorrelated(whole: np.ndarray) -> float:
    """Standard deviation of the white part of planes [h,w,C], at one pixel or two, whichever is more; all planes."""
    found, here = [0.0], _diagonal(whole)
    for size in (2, 4):
        coarser = pooled(whole, size)
        if min(coarser.shape[:2]) < 8:
            break
        there = _diagonal(coarser)
        found.append(float(np.sqrt((np.clip(here**2 - there**2, 0.0, None) * 4.0 / 3.0).sum())))
        here = there
    return max(found)


def _planes(rgb: np.ndarray) -> np.ndarray:
    """Luma and the two colour differences, [h,w,3]."""
    light, colours = planes(rgb)
    return np.concatenate([light[..., None], colours], axis=-1)


def _diagonal(whole: np.ndarray) -> np.ndarray:
    """Robust standard deviation of the diagonal Haar coefficients of each plane; that of white noise itself."""
    even = whole[: whole.shape[0] // 2 * 2, : whole.shape[1] // 2 * 2]
    if not even.size:
        return np.zeros(whole.shape[-1])
    crossed = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2.0
    return np.asarray(np.median(np.abs(crossed), axis=(0, 1)) / 0.6745)


def _stray(light: np.ndarray, colours: np.ndarray) -> bool:
    covariance = np.cov(colours.reshape(-1, 2).T)
    weaker = math.sqrt(max(float(np.linalg.eigvalsh(covariance)[0]), 0.0))
    return weaker > STRAY and weaker > STRAY_LIGHT * float(light.std())


def _one_frequency(light: np.ndarray) -> float:
    """Share of the energy above ``STRIPE_LOW`` periods a window that the strongest frequency has, over all windows."""
    ramp = np.hanning(WINDOW)
    taper, f = np.outer(ramp, ramp), np.fft.fftfreq(WINDOW) * WINDOW
    low = np.hypot(*np.meshgrid(f, f)) < STRIPE_LOW
    least = STRIPE_LEAST**2 * WINDOW**2 * float((taper**2).sum())
    whole, count = np.zeros((WINDOW, WINDOW)), 0
    for y in range(0, light.shape[0] - WINDOW + 1, WINDOW // 2):
        for x in range(0, light.shape[1] - WINDOW + 1, WINDOW // 2):
            part = light[y : y + WINDOW, x : x + WINDOW]
            power = np.abs(np.fft.fft2((part - part.mean()) * taper)) ** 2
            power[low], count = 0.0, count + 1
            if power.sum() > least:
                whole += power / power.sum()
    near = sum(np.roll(whole, (dy, dx), axis=(0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
    return 2.0 * float(np.max(near)) / max(count, 1)


def _each(function: Callable[[Image.Image], float]) -> ScoreFunction:
    def score(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        return ScoreValues.of(np.array([function(Image.fromarray(one)) for one in pictures]))

    return score


_SHARE = "share of the pictures that look like"
DETECTORS: dict[str, Score] = {
    name: Score(name, _each(function), "lower", "", words, limit=0.0, alarm=True)
    for name, function, words in (
        ("blank", blank, f"{_SHARE} one colour"),
        ("blur", blur, f"{_SHARE} a blur without content; a plain gradient counts as one"),
        ("noise", noise, f"{_SHARE} noise, or have strong noise left on them"),
        ("patches", patches, f"{_SHARE} patches or fragments of unrelated colours"),
        ("stripes", stripes, f"{_SHARE} stripes or a regular pattern; a real fence or brick wall counts as one"),
    )
}
