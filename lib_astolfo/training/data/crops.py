"""From an upright picture to the pixels of its bucket: resize, crop, flip; and the size ids that go with them.

Resizing is kohya's choice (library/utils.py:216-264 at 48d368fa): the exact mean over each new pixel's area when both
sides shrink (as OpenCV's INTER_AREA), Lanczos when one grows; or Lanczos always.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data import draws
from lib_astolfo.training.data.buckets import Fit, Size, crop_ids

if TYPE_CHECKING:
    from PIL.Image import Image

CROPS = ("centre", "random")
RESAMPLES = ("auto", "lanczos")
CROP_IDS = ("kohya", "actual")


@dataclass(frozen=True)
class CropSettings:
    """How pictures are cropped and mirrored.

    Attributes:
        crop: ``centre``, or ``random``: a place drawn for every time that a picture is seen.
        variants: with ``random``, the number of places per picture, so that latents can be cached; 0 is no limit.
        flip: chance that a picture is mirrored, 0 to 1; a data set's own flip_p stands before it.
        resample: ``auto`` (area mean when shrinking, Lanczos when enlarging) or ``lanczos``.
        ids: what SDXL is told of the crop: ``kohya``'s margins, or the ``actual`` place in the resized picture.
    """

    crop: str = "centre"
    variants: int = 0
    flip: float = 0.0
    resample: str = "auto"
    ids: str = "kohya"

    def __post_init__(self) -> None:
        for name, known in (("crop", CROPS), ("resample", RESAMPLES), ("ids", CROP_IDS)):
            if getattr(self, name) not in known:
                raise BadInput(f"crops.{name}", repr(getattr(self, name)), "one of " + ", ".join(known))
        if not 0 <= self.flip <= 1:
            raise BadInput("crops.flip", self.flip, "a chance from 0 to 1")
        if isinstance(self.variants, bool) or not 0 <= self.variants <= 10_000:
            raise BadInput("crops.variants", repr(self.variants), "a whole number from 0 to 10000")

    def inert(self) -> tuple[str, ...]:
        """Settings that do nothing, in words."""
        if self.variants and self.crop != "random":
            return ("crops.variants does nothing: crops.crop is not random",)
        return ()


@dataclass(frozen=True)
class Crop:
    """What is cut out of the resized picture, in its pixels, before mirroring."""

    fit: Fit
    left: int
    top: int
    flipped: bool

    def size_ids(self, size: Size, kind: str = "kohya") -> tuple[int, int, int, int, int, int]:
        """SDXL's six numbers for a picture of ``size``: original height and width, crop top and left, target height
        and width (kohya train_util.py:1680-1693: the left margin counts from the right when mirrored)."""
        (wide, high), resized = self.fit.bucket, self.fit.resized
        if kind == "kohya":
            top, left = crop_ids(self.fit.bucket, size, self.flipped)
        else:
            top, left = self.top, resized[0] - wide - self.left if self.flipped else self.left
        return size[1], size[0], top, left, high, wide


def choose(settings: CropSettings, fit: Fit, seed: int, seen: tuple[int, str, int], flip: float | None = None) -> Crop:
    """The crop of one picture at one time. ``seen`` is (epoch, item id, how many times before in this epoch)."""
    epoch, item, repeat = seen
    chance = settings.flip if flip is None else flip
    flipped = draws.uniform(seed, "flip", epoch, item, repeat) < chance
    spare = (fit.resized[0] - fit.bucket[0], fit.resized[1] - fit.bucket[1])
    if settings.crop == "centre":
        return Crop(fit, spare[0] // 2, spare[1] // 2, flipped)
    keys: tuple[int | str, ...] = (epoch, item, repeat)
    if settings.variants:
        keys = (item, draws.whole(settings.variants, seed, "crop variant", *keys))
    left = draws.whole(spare[0] + 1, seed, "crop left", *keys)
    return Crop(fit, left, draws.whole(spare[1] + 1, seed, "crop top", *keys), flipped)


def cut(image: Image, crop: Crop, resample: str = "auto") -> np.ndarray[Any, Any]:
    """The crop's pixels: uint8 [height, width, 3] of an RGB picture, [height, width] of an alpha channel."""
    pixels = resize(image, crop.fit.resized, resample)
    wide, high = crop.fit.bucket
    pixels = pixels[crop.top : crop.top + high, crop.left : crop.left + wide]
    return np.ascontiguousarray(pixels[:, ::-1] if crop.flipped else pixels)


def resize(image: Image, size: Size, resample: str = "auto") -> np.ndarray[Any, Any]:
    """The picture (mode RGB or L) at another (width, height), uint8."""
    from PIL import Image as pil

    if image.size == size:
        return np.asarray(image)
    if resample == "auto" and image.width >= size[0] and image.height >= size[1]:
        return _area(np.asarray(image), size)
    return np.asarray(image.resize(size, pil.Resampling.LANCZOS))


def to_unit(pixels: np.ndarray[Any, Any]) -> Tensor:
    """uint8 [height, width, 3] to float32 [3, height, width] from -1 to 1."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div_(127.5).sub_(1)


def to_mask(alpha: np.ndarray[Any, Any]) -> Tensor:
    """uint8 [height, width] to float32 from 0 to 1."""
    return torch.from_numpy(alpha.copy()).float().div_(255)


def _area(pixels: np.ndarray[Any, Any], size: Size) -> np.ndarray[Any, Any]:
    """The mean over the area of each new pixel, parts of old pixels counted by their share, rounded half to even."""
    rows = _means(pixels.reshape(pixels.shape[0], -1), size[1]).reshape(size[1], pixels.shape[1], -1)
    across = _means(rows.transpose(1, 0, 2).reshape(pixels.shape[1], -1), size[0]).reshape(size[0], size[1], -1)
    means = np.rint(across.transpose(1, 0, 2)).clip(0, 255).astype(np.uint8)
    return means.reshape(size[1], size[0], *pixels.shape[2:])


def _means(values: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """[n, k] to float32 [count, k]: the means over count equal parts of the first axis."""
    length = len(values)
    edges = np.arange(count + 1) * (length / count)
    first = np.minimum(edges[:-1].astype(np.int64), length - 1)
    means = np.zeros((count, values.shape[1]), np.float32)
    for step in range(math.ceil(length / count) + 1):
        row = first + step
        share = np.minimum(edges[1:], row + 1) - np.maximum(edges[:-1], row)
        weight = (share.clip(0) * (count / length)).astype(np.float32)
        means += values[np.minimum(row, length - 1)] * weight[:, None]
    return means
