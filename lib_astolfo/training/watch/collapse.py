"""Whether previews have collapsed, where the base's own pictures of the same prompts and seeds have not.

Measures of a picture, as a thumbnail of 64 pixels: how much there is to see, how it is shared out between fine and
coarse forms, how many hues there are that do not belong together. Each is compared picture by picture with the base's,
and the median counts, so what a style changes in one picture is not taken for a collapse.

The limits were set on pictures of the digits laboratory's models: as they are, at other guidance and steps and merged
(the noise score stays below 0.2, at CFG 30 0.4), and broken: other prediction, weights with noise, scaled, cleared
(0.65 and more); photographs drawn in other styles stay below 0.4. A blur is known by what averaging pictures does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib_astolfo.scoring.features import measures, thumbnail

FINE, COARSE, HUES = 0.4, 0.35, 0.04  # changes that are a noise score of 1 each
NOISE, NOISE_HUES, ALL_HUES = 0.6, 0.03, 0.15  # noise: the score and the hues, or the hues alone
BLUR, BLUR_FINE = 1.15, 0.25  # blur: logarithm by which detail fell, and its share of the picture
FLAT = math.log(4.0)  # one colour: logarithm by which the contrast fell
SAME = math.log(8.0)  # one picture: logarithm by which pictures of several prompts came nearer to each other
SATURATED = 1.1  # noise with more colour than the base has are fragments
WORDS = {
    "flat": "one colour",
    "blur": "a blur without content",
    "noise": "noise",
    "fragments": "fragments of colour",
    "same": "one and the same picture whatever is asked",
}


@dataclass(frozen=True, eq=False)
class Features:
    """``measures`` float64 [N, 5]: log contrast, log share of fine and of coarse forms, share of stray hues, mean
    saturation. ``thumbnails`` float64 [N, h, w, 3] if all have one shape, else None."""

    measures: np.ndarray
    thumbnails: np.ndarray | None

    def __len__(self) -> int:
        return len(self.measures)


def features(paths: Sequence[Path]) -> Features:
    """Of picture files."""
    images = []
    for path in paths:
        with Image.open(path) as file:
            images.append(file.convert("RGB"))
    return of_images(images)


def of_images(images: Sequence[Image.Image]) -> Features:
    """Of pictures in memory."""
    small = [thumbnail(image) for image in images]
    same = len({each.shape for each in small}) == 1
    return Features(np.array([measures(each) for each in small]), np.stack(small) if same else None)


def judge(now: Features, base: Features, strength: float = 1.0) -> dict[str, Any]:
    """``state``: fine, or a key of ``WORDS``; and the changes it follows from. ``strength`` above 1 sees more.

    ``now`` and ``base`` are of the same prompts and seeds in the same order.
    """
    change = np.median(now.measures - base.measures, axis=0)
    contrast, fine, coarse, hues = (float(value) for value in change[:4])
    noise = (fine / FINE - coarse / COARSE + hues / HUES) / 3.0
    detail = fine + 2.0 * contrast
    nearer = _nearer(now, base)
    saturation = float(np.median(now.measures[:, 4])) / max(float(np.median(base.measures[:, 4])), 1e-6)
    state = "fine"
    if contrast < -FLAT / strength:
        state = "flat"
    elif (noise > NOISE / strength and hues > NOISE_HUES / strength) or hues > ALL_HUES / strength:
        state = "fragments" if saturation > SATURATED else "noise"
    elif detail < -BLUR / strength and fine < -BLUR_FINE / strength:
        state = "blur"
    elif nearer > SAME / strength:
        state = "same"
    seen = {"contrast": contrast, "noise": noise, "hues": hues, "detail": detail, "nearer": nearer}
    return {"state": state, **{name: round(value, 4) for name, value in seen.items()}}


def _nearer(now: Features, base: Features) -> float:
    """Logarithm by which the pictures' distances from their mean fell; 0 where the base's are all alike or one."""
    if now.thumbnails is None or base.thumbnails is None or len(now) < 2 or len(base) < 2:
        return 0.0
    apart = [float(each.thumbnails.var(axis=0).mean()) for each in (now, base) if each.thumbnails is not None]
    return math.log((apart[1] + 1e-6) / (apart[0] + 1e-6)) if apart[1] > 1e-3 else 0.0
