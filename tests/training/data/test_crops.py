"""Resizing as OpenCV's area mean, crops within the picture, flips at their rate, SDXL's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.buckets import BucketSettings, Fit, fit
from lib_astolfo.training.data.crops import Crop, CropSettings, choose, cut, resize, to_mask, to_unit

FIT = Fit((64, 48), (70, 50))
#: cv2.resize(…, (3, 4), interpolation=cv2.INTER_AREA) of the picture in the test, OpenCV 5.0.
AREA = [
    89, 126, 150, 121, 133, 121, 104, 153, 128, 125, 130, 146, 136, 140, 144, 122, 138, 106,
    133, 138, 126, 155, 135, 123, 152, 132, 120, 97, 133, 138, 129, 117, 122, 113, 150, 106,
]  # fmt: skip


def test_shrinking_is_opencvs_area_mean() -> None:
    pixels = [[[(37 * y + 91 * x + 53 * c + 7 * x * y) % 256 for c in range(3)] for x in range(7)] for y in range(9)]
    small = resize(Image.fromarray(np.array(pixels, np.uint8)), (3, 4))
    assert small.shape == (4, 3, 3)
    assert small.reshape(-1).tolist() == AREA


def test_the_mean_is_kept_and_parts_count_by_their_area() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (61, 47), dtype=np.uint8)
    small = resize(Image.fromarray(grey), (13, 20))
    assert small.dtype == np.uint8 and abs(small.mean() - grey.mean()) < 0.3
    assert resize(Image.fromarray(np.array([[0, 90, 180]], np.uint8)), (2, 1)).tolist() == [[30, 150]]


def test_enlarging_is_lanczos_and_the_same_size_is_untouched() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    lanczos = np.asarray(image.resize((16, 8), Image.Resampling.LANCZOS))
    assert (resize(image, (16, 8)) == lanczos).all()
    assert (resize(image, (8, 8)) == np.asarray(image)).all()
    shrunk = np.asarray(image.resize((4, 4), Image.Resampling.LANCZOS))
    assert (resize(image, (4, 4), "lanczos") == shrunk).all() and (resize(image, (4, 4)) != shrunk).any()


def test_a_centre_crop_is_in_the_middle() -> None:
    crop = choose(CropSettings(), FIT, 1, (0, "x", 0))
    assert (crop.left, crop.top, crop.flipped) == (3, 1, False)
    pixels = np.arange(50 * 70, dtype=np.uint32).reshape(50, 70).astype(np.uint8)
    assert (cut(Image.fromarray(pixels), crop) == pixels[1:49, 3:67]).all()
    flipped = Crop(FIT, 3, 1, True)
    assert (cut(Image.fromarray(pixels), flipped) == pixels[1:49, 3:67][:, ::-1]).all()


def test_random_crops_reach_every_place_and_no_further() -> None:
    places = {
        (crop.left, crop.top)
        for epoch in range(400)
        for crop in [choose(CropSettings(crop="random"), FIT, 1, (epoch, "x", 0))]
    }
    assert places == {(left, top) for left in range(7) for top in range(3)}


def test_crops_follow_from_seed_epoch_item_and_repeat() -> None:
    wide, settings = Fit((64, 64), (4000, 64)), CropSettings(crop="random", flip=0.5)
    base = choose(settings, wide, 1, (2, "x", 0))
    assert base == choose(settings, wide, 1, (2, "x", 0))
    others = [(2, (2, "x", 0)), (1, (3, "x", 0)), (1, (2, "y", 0)), (1, (2, "x", 1))]
    assert len({base.left, *(choose(settings, wide, seed, seen).left for seed, seen in others)}) == 5


def test_variants_limit_the_places() -> None:
    settings = CropSettings(crop="random", variants=3)
    wide = Fit((64, 64), (4000, 64))
    assert len({choose(settings, wide, 1, (epoch, "x", 0)).left for epoch in range(60)}) == 3
    assert choose(settings, wide, 1, (0, "x", 0)).left != choose(settings, wide, 1, (0, "y", 0)).left


@pytest.mark.parametrize(
    ("chance", "own", "rate"), [(0.0, None, 0.0), (0.5, None, 0.5), (0.0, 0.25, 0.25), (1.0, 0, 0.0)]
)
def test_flips_come_at_their_rate(chance: float, own: float | None, rate: float) -> None:
    flips = sum(choose(CropSettings(flip=chance), FIT, 1, (epoch, "x", 0), own).flipped for epoch in range(2000))
    assert abs(flips - 2000 * rate) <= 4 * (2000 * rate * (1 - rate)) ** 0.5


def test_size_ids() -> None:
    place = fit(BucketSettings(), 1000, 1500)
    assert place == Fit((832, 1216), (832, 1248))
    centre = choose(CropSettings(), place, 1, (0, "x", 0))
    assert centre.size_ids((1000, 1500)) == (1500, 1000, 0, 10, 1216, 832)
    assert centre.size_ids((1000, 1500), "actual") == (1500, 1000, 16, 0, 1216, 832)
    wide = Crop(Fit((64, 64), (100, 64)), 10, 0, True)
    assert wide.size_ids((200, 128), "actual")[2:4] == (0, 26)


def test_tensors() -> None:
    pixels = np.array([[[0, 127, 255], [1, 2, 3]]], np.uint8)
    color = to_unit(pixels)
    assert color.shape == (3, 1, 2) and color.dtype == torch.float32
    assert color[:, 0, 0].tolist() == pytest.approx([-1, 127 / 127.5 - 1, 1])
    assert to_mask(np.array([[0, 255, 51]], np.uint8)).tolist() == [pytest.approx([0, 1, 0.2])]


@pytest.mark.parametrize(
    "values",
    [{"crop": "left"}, {"flip": 2}, {"flip": float("nan")}, {"variants": -1}, {"resample": "box"}, {"ids": "no"}],
)
def test_settings_without_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="crops"):
        CropSettings(**values)


def test_settings_that_do_nothing_are_named() -> None:
    assert CropSettings(variants=4).inert() and not CropSettings(crop="random", variants=4).inert()
