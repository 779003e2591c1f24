"""Scores that need no taste and no model: light, colour and detail. None of them says that a picture is good."""

from __future__ import annotations

import numpy as np

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.features import luma
from lib_astolfo.scoring.score import Score, per_picture


def brightness(pictures: np.ndarray) -> np.ndarray:
    """Mean luma, 0 black to 1 white; rises when guidance burns."""
    return luma(pictures).mean(axis=(1, 2))


def contrast(pictures: np.ndarray) -> np.ndarray:
    """Standard deviation of luma; low for the grey blur of an undertrained uncond."""
    return luma(pictures).std(axis=(1, 2))


def saturation(pictures: np.ndarray) -> np.ndarray:
    """Mean over pixels of largest minus smallest channel (chroma), 0 grey to 1 pure colour."""
    return (pictures.max(axis=3) - pictures.min(axis=3)).mean(axis=(1, 2))


def sharpness(pictures: np.ndarray) -> np.ndarray:
    """Mean squared Laplacian of luma over its variance: detail at the pixel scale, independent of contrast."""
    light = luma(pictures)
    if min(light.shape[1:]) < 3:
        raise BadInput("score sharpness", f"pictures of {light.shape[2]}x{light.shape[1]}", "at least 3x3 pixels")
    middle = light[:, 1:-1, 1:-1]
    laplacian = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:] - 4 * middle
    return (laplacian**2).mean(axis=(1, 2)) / (light.var(axis=(1, 2)) + 1e-6)


def clipping(pictures: np.ndarray) -> np.ndarray:
    """Share of colour values at 0 or 255: what too much guidance pushes out of range."""
    return ((pictures <= 0.0) | (pictures >= 1.0)).mean(axis=(1, 2, 3))


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score("brightness", per_picture(brightness), "none", "", "mean luma, 0 to 1"),
        Score("contrast", per_picture(contrast), "none", "", "standard deviation of luma"),
        Score("saturation", per_picture(saturation), "none", "", "mean chroma, 0 grey to 1 pure colour"),
        Score("sharpness", per_picture(sharpness), "none", "", "pixel detail relative to contrast"),
        Score("clipping", per_picture(clipping), "none", "", "share of colour values at 0 or 255"),
    )
}
