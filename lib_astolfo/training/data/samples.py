"""One picture at one time: which crop, which words, which numbers SDXL is told; and its pixels, when they are needed.

``plan`` opens nothing, so that a cached latent costs no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lib_astolfo.training.data import crops
from lib_astolfo.training.data.captions import Said, say
from lib_astolfo.training.data.crops import Crop
from lib_astolfo.training.data.order import Batch, Seen
from lib_astolfo.training.data.pictures import load
from lib_astolfo.training.data.scan import Item
from lib_astolfo.training.data.settings import DataSettings


@dataclass(frozen=True)
class Plan:
    """How one picture is seen at one time.

    Attributes:
        item, seen: which picture; ``seen.name`` is its name for random draws in its epoch.
        crop: what is cut out, and whether it is mirrored.
        said: the caption, and whether it was dropped on purpose.
        size_ids: SDXL's original height, width, crop top, left, target height, width.
    """

    item: Item
    seen: Seen
    crop: Crop
    said: Said
    size_ids: tuple[int, int, int, int, int, int]


def plan(settings: DataSettings, item: Item, epoch: int, seen: Seen) -> Plan:
    """How a picture is seen in an epoch, counted from 0; a function of (seed, epoch, item id, repeat)."""
    at = (epoch, item.id, seen.repeat)
    crop = crops.choose(settings.crops, item.fit, settings.seed, at, item.flip)
    said = say(settings.captions, item.wording, settings.seed, at)
    return Plan(item, seen, crop, said, crop.size_ids(item.size, settings.crops.ids))


def plans(settings: DataSettings, items: Sequence[Item], epoch: int, batch: Batch) -> list[Plan]:
    """The plans of a batch, in its order."""
    return [plan(settings, items[seen.index], epoch, seen) for seen in batch.seen]


def pixels(settings: DataSettings, planned: Plan) -> tuple[Tensor, Tensor | None]:
    """Float32 [3, height, width] from -1 to 1, and with ``alpha_mask`` the picture's alpha [height, width] from 0 to 1
    (None where it has none, which counts as 1).

    Raises BadInput if the file is gone, broken, or not the one that was scanned.
    """
    picture, alpha = load(planned.item.path, settings.pictures, planned.item.sha256)
    color = crops.to_unit(crops.cut(picture, planned.crop, settings.crops.resample))
    if alpha is None:
        return color, None
    return color, crops.to_mask(crops.cut(alpha, planned.crop, settings.crops.resample))
