"""What can be seen in a picture, in figures: luma, and how a thumbnail's forms and colours are made up.

Shared by the scores and by the alarm of a training (``training.watch.collapse``).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

SIDE, LEAST = 64, 32  # of the thumbnails, their longer side; narrower pictures are stretched
LUMA = (0.299, 0.587, 0.114)  # Rec. 601
MEASURES = ("contrast", "fine", "coarse", "hues", "saturation")


def luma(pictures: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of colours [...,3]."""
    return np.asarray(pictures @ np.array(LUMA))


def thumbnail(image: Image.Image) -> np.ndarray:
    """float64 [h,w,3] in 0 to 1, the longer side ``SIDE`` pixels, each the mean of what it covers."""
    scale = SIDE / max(image.size)
    size = (max(LEAST, round(image.width * scale)), max(LEAST, round(image.height * scale)))
    small = image if image.size == size else image.resize(size, Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255.0


def measures(rgb: np.ndarray) -> list[float]:
    """Of a thumbnail [h,w,3]: log contrast, log share of fine and of coarse forms, stray hues, mean saturation.

    Stray hues: the smaller principal variance of the two colour differences, over all variance: colours that follow
    neither the light nor each other.
    """
    light, colours = planes(rgb)
    whole = np.concatenate([light[..., None], colours], axis=-1)
    total = float(whole.reshape(-1, 3).var(axis=0).sum()) + 1e-8
    bands = [band(whole, size) for size in (2, 4, 32)]
    fine, finer, coarse = (math.log((one + 1e-7) / total) for one in bands)
    covariance = np.cov(colours.reshape(-1, 2).T)
    stray = max(float(np.linalg.eigvalsh(covariance)[0]), 0.0) / (float(covariance.trace()) + float(light.var()) + 1e-8)
    saturation = float((rgb.max(axis=-1) - rgb.min(axis=-1)).mean())
    return [math.log(math.sqrt(total) + 1e-4), (fine + finer) / 2.0, coarse, stray, saturation]


def planes(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luma [h,w] and the two colour differences [h,w,2] (Cb, Cr of JPEG) of a picture [h,w,3] in 0 to 1."""
    light = luma(rgb)
    return light, np.stack([(rgb[..., 2] - light) * 0.564, (rgb[..., 0] - light) * 0.713], axis=-1)


def band(whole: np.ndarray, size: int) -> float:
    """Mean square of what is seen at half of ``size`` pixels and no more at ``size``, of planes [h,w,C]."""
    finer, coarser = pooled(whole, size // 2), pooled(whole, size)
    height, width = coarser.shape[0] * 2, coarser.shape[1] * 2
    difference = finer[:height, :width] - coarser.repeat(2, axis=0).repeat(2, axis=1)
    return float((difference**2).sum(axis=-1).mean()) if difference.size else 0.0


def pooled(whole: np.ndarray, size: int) -> np.ndarray:
    """Means of blocks of ``size`` x ``size``; what is left over at the right and below is cut off."""
    height, width = whole.shape[0] // size * size, whole.shape[1] // size * size
    cut = whole[:height, :width].reshape(height // size, size, width // size, size, -1)
    return np.asarray(cut.mean(axis=(1, 3)))
