"""Aspect buckets and SDXL's size ids, number for number as kohya's sd-scripts make them.

Sources at kohya-ss/sd-scripts 48d368fa: library/model_util.py:1316-1344 (the list), library/train_util.py:269-346 (the
choice), :348-368 (crop values), :698-724 (rounding of the limits), :1680-1693 (the ids when flipped).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from lib_astolfo.errors import BadInput

Size = tuple[int, int]
MAX_SIDE = 16384


@dataclass(frozen=True)
class BucketSettings:
    """Which sizes pictures are brought to. All in pixels, width before height.

    Attributes:
        width, height: the resolution; its area is the most that a bucket has.
        smallest: shortest side of a bucket, rounded down to a multiple of ``steps``.
        longest: longest side, rounded up. kohya's own default is 1024, which at 1024 x 1024 caps the long side, so that
            a 2:3 portrait becomes 704 x 1024 instead of 832 x 1216; 2048 is right for SDXL.
        steps: sides are multiples of this; 64, or 32 for SDXL; at least a multiple of 8, the VAE's factor.
        no_upscale: never enlarge: a picture below the area keeps its size, cropped to ``steps``. Then ``smallest`` and
            ``longest`` do nothing, as in kohya.
        enabled: False brings every picture to ``width`` x ``height``.
    """

    width: int = 1024
    height: int = 1024
    smallest: int = 256
    longest: int = 2048
    steps: int = 64
    no_upscale: bool = False
    enabled: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "height", "smallest", "longest", "steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIDE:
                raise BadInput(f"buckets.{name}", repr(value), f"a whole number of pixels from 1 to {MAX_SIDE}")
        if self.steps % 8:
            raise BadInput("buckets.steps", self.steps, "a multiple of 8")
        if not self.enabled:
            self._check_single()
        elif not self.no_upscale:
            self._check_limits()

    def _check_single(self) -> None:
        if self.width % 8 or self.height % 8:
            raise BadInput("buckets.width and height", f"{self.width} x {self.height}", "multiples of 8")
        if self.no_upscale:
            raise BadInput("buckets.no_upscale", "true without buckets", "buckets.enabled=true, or no_upscale=false")

    def _check_limits(self) -> None:
        low, high = self.limits
        if low < 1 or min(self.width, self.height) < low:
            raise BadInput(
                "buckets.smallest",
                self.smallest,
                f"from {self.steps} to {min(self.width, self.height)}, the resolution",
            )
        if max(self.width, self.height) > high:
            raise BadInput("buckets.longest", self.longest, f"at least {max(self.width, self.height)}, the resolution")

    @property
    def limits(self) -> Size:
        """Shortest and longest side, brought to multiples of ``steps``."""
        return self.smallest - self.smallest % self.steps, self.longest + -self.longest % self.steps

    def inert(self) -> tuple[str, ...]:
        """Settings that differ from their defaults and do nothing, in words."""
        plain = BucketSettings()
        if self.enabled and not self.no_upscale:
            return ()
        names = ("smallest", "longest") if self.enabled else ("smallest", "longest", "steps")
        reason = "no_upscale makes buckets of the pictures' own sizes" if self.enabled else "buckets are off"
        return tuple(
            f"buckets.{name} does nothing: {reason}" for name in names if getattr(self, name) != getattr(plain, name)
        )


@dataclass(frozen=True)
class Fit:
    """How a picture gets into its bucket: resized to ``resized``, then cropped to ``bucket``. (width, height) each."""

    bucket: Size
    resized: Size

    def enlarged(self, size: Size) -> float:
        """Factor of the larger side's change, above 1 when the picture of this size is enlarged."""
        return max(self.resized[0] / size[0], self.resized[1] / size[1])

    @property
    def cropped(self) -> float:
        """Share of the resized picture that the crop removes, 0 to 1."""
        return 1 - self.bucket[0] * self.bucket[1] / (self.resized[0] * self.resized[1])


@functools.lru_cache(maxsize=64)
def resolutions(settings: BucketSettings) -> tuple[Size, ...]:
    """All buckets, sorted; empty with ``no_upscale``, where the pictures make them."""
    if not settings.enabled:
        return ((settings.width, settings.height),)
    if settings.no_upscale:
        return ()
    area, steps = settings.width * settings.height, settings.steps
    low, high = settings.limits
    side = int(math.sqrt(area) // steps) * steps
    found = {(side, side)}
    for width in range(low, high + 1, steps):
        height = min(high, area // width // steps * steps)
        if height >= low:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def fit(settings: BucketSettings, width: int, height: int) -> Fit:
    """The bucket of a picture and the size it is resized to before the crop.

    Raises BadInput where there is none: an empty picture, or with ``no_upscale`` one that is smaller than a step.
    """
    if width < 1 or height < 1:
        raise BadInput("picture", f"{width} x {height} pixels", "at least one pixel")
    if settings.no_upscale:
        return _fit_down(settings, width, height)
    known, aspect = resolutions(settings), width / height
    bucket = (width, height)
    if bucket not in known:
        bucket = min(known, key=lambda size: abs(size[0] / size[1] - aspect))
    scale = bucket[1] / height if aspect > bucket[0] / bucket[1] else bucket[0] / width
    return Fit(bucket, (int(width * scale + 0.5), int(height * scale + 0.5)))


def _fit_down(settings: BucketSettings, width: int, height: int) -> Fit:
    area, steps, aspect = settings.width * settings.height, settings.steps, width / height
    resized = (width, height)
    if width * height > area:
        wide = math.sqrt(area * aspect)
        by_width = _down(wide, steps)
        by_height = _down(area / wide, steps)
        high, wide_too = _down(by_width / aspect, steps), _down(by_height * aspect, steps)
        if not (high and by_height):
            raise _too_thin(settings, width, height)
        if abs(by_width / high - aspect) < abs(wide_too / by_height - aspect):
            resized = (by_width, int(by_width / aspect + 0.5))
        else:
            resized = (int(by_height * aspect + 0.5), by_height)
    bucket = (resized[0] - resized[0] % steps, resized[1] - resized[1] % steps)
    if not min(bucket):
        raise _too_thin(settings, width, height)
    return Fit(bucket, resized)


def _down(value: float, steps: int) -> int:
    rounded = int(value + 0.5)
    return rounded - rounded % steps


def _too_thin(settings: BucketSettings, width: int, height: int) -> BadInput:
    expected = f"sides of at least {settings.steps} pixels after scaling, or buckets.no_upscale=false"
    return BadInput("picture", f"{width} x {height} pixels", expected)


def crop_ids(bucket: Size, size: Size, flipped: bool = False) -> Size:
    """(top, left) that kohya tells the network for a picture of ``size``: the margins between the bucket and the
    largest rectangle of the picture's aspect within it, whatever was really cropped."""
    wide, aspect = bucket[0] / bucket[1], size[0] / size[1]
    width: float = bucket[1] * aspect if wide > aspect else bucket[0]
    height: float = bucket[1] if wide > aspect else bucket[0] / aspect
    left, top = (bucket[0] - width) // 2, (bucket[1] - height) // 2
    return int(top), int(bucket[0] - (left + width) if flipped else left)
