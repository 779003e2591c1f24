"""All settings of a training's data."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.buckets import BucketSettings
from lib_astolfo.training.data.captions import CaptionSettings
from lib_astolfo.training.data.crops import CropSettings
from lib_astolfo.training.data.pictures import PictureSettings
from lib_astolfo.training.data.scan import DUPLICATES
from lib_astolfo.training.data.sources import Source


@dataclass(frozen=True)
class DataSettings:
    """What is trained on, and how it is seen.

    Attributes:
        sources: the data sets.
        batch_size: pictures per optimiser step, over all processes and accumulation steps.
        seed: of everything that is drawn here.
        duplicates: ``keep`` or ``leave_out`` pictures whose files have the same bytes.
    """

    sources: tuple[Source, ...] = ()
    buckets: BucketSettings = field(default_factory=BucketSettings)
    pictures: PictureSettings = field(default_factory=PictureSettings)
    crops: CropSettings = field(default_factory=CropSettings)
    captions: CaptionSettings = field(default_factory=CaptionSettings)
    batch_size: int = 1
    seed: int = 0
    duplicates: str = "keep"

    def __post_init__(self) -> None:
        if isinstance(self.batch_size, bool) or self.batch_size < 1:
            raise BadInput("data.batch_size", repr(self.batch_size), "a whole number of at least 1")
        if self.duplicates not in DUPLICATES:
            raise BadInput("data.duplicates", repr(self.duplicates), "one of " + ", ".join(DUPLICATES))

    def inert(self) -> tuple[str, ...]:
        """Settings that do nothing in this combination, in words; to be shown before the start."""
        return (*self.buckets.inert(), *self.crops.inert(), *self.captions.inert())

    @property
    def latents_repeat(self) -> bool:
        """The same crops come again, so caching latents is worth its space."""
        return self.crops.crop == "centre" or self.crops.variants > 0
