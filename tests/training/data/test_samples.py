"""From a data set on disk to pixels, captions, size ids, latents and text states: the same however it is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.training.data.buckets import BucketSettings
from lib_astolfo.training.data.caches import Cache
from lib_astolfo.training.data.captions import CaptionSettings
from lib_astolfo.training.data.crops import CropSettings
from lib_astolfo.training.data.encoded import latent_key, latents, texts
from lib_astolfo.training.data.order import Order, shard
from lib_astolfo.training.data.pictures import PictureSettings
from lib_astolfo.training.data.samples import Plan, pixels, plans
from lib_astolfo.training.data.scan import Item, scan
from lib_astolfo.training.data.settings import DataSettings
from lib_astolfo.training.data.sources import Source, read_all

Paint = Callable[..., Path]
SETTINGS = DataSettings(
    buckets=BucketSettings(64, 64, 32, 128, 32),
    pictures=PictureSettings(shortest=16),
    crops=CropSettings(crop="random", flip=0.5),
    captions=CaptionSettings(shuffle=True, keep=1),
    batch_size=4,
    seed=3,
)


def prepared(folder: Path, settings: DataSettings = SETTINGS) -> tuple[Item, ...]:
    return scan(read_all((Source(str(folder)),)), settings.pictures, settings.buckets).items


def planned(settings: DataSettings, items: tuple[Item, ...], epochs: int = 1) -> list[Plan]:
    order = Order(items, settings.batch_size, settings.seed)
    return [one for at, batch in order.batches(epochs=epochs) for one in plans(settings, items, at.epoch, batch)]


@pytest.fixture
def folder(paint: Paint, tmp_path: Path) -> Path:
    for number in range(7):
        paint(f"set/{number}.png", (90 + 9 * number, 70), f"main {number}, a, b, c, d")
    return tmp_path / "set"


def encode(color: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"mean": torch.nn.functional.avg_pool2d(color, 8), "logvar": torch.zeros(1, 4)}


def test_pixels_are_the_crops_of_the_picture(folder: Path) -> None:
    items = prepared(folder)
    for one in planned(SETTINGS, items, 3):
        color, mask = pixels(SETTINGS, one)
        wide, high = one.item.fit.bucket
        assert color.shape == (3, high, wide) and mask is None
        assert -1 <= float(color.min()) < -0.3 and 0.3 < float(color.max()) <= 1
        assert one.size_ids[:2] == (70, one.item.size[0]) and one.size_ids[4:] == (high, wide)


def test_plans_are_the_same_in_one_process_and_in_three(folder: Path) -> None:
    items = prepared(folder)
    order = Order(items, 4, 3)
    whole = planned(SETTINGS, items, 2)
    parts = [
        one
        for at, batch in order.batches(epochs=2)
        for rank in range(3)
        for one in plans(SETTINGS, items, at.epoch, shard(batch, rank, 3))
    ]
    assert parts == whole
    assert Counter(one.item.id for one in whole) == dict.fromkeys((item.id for item in items), 2)


def test_draws_do_not_depend_on_where_the_data_lies(paint: Paint, folder: Path, tmp_path: Path) -> None:
    folder_moved = folder.rename(tmp_path / "elsewhere")
    for number in range(7):
        for ending in (".png", ".txt"):
            (folder_moved / f"{number}{ending}").rename(folder_moved / f"renamed {9 - number}{ending}")
    moved = planned(SETTINGS, prepared(folder_moved))
    for number in range(7):
        paint(f"set/{number}.png", (90 + 9 * number, 70), f"main {number}, a, b, c, d")
    before = planned(SETTINGS, prepared(folder))
    assert [(one.item.id, one.crop, one.said) for one in moved] == [(one.item.id, one.crop, one.said) for one in before]


def test_nothing_touches_the_global_generators(folder: Path) -> None:
    import random

    random.seed(1)
    np.random.seed(1)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist())
    for one in planned(SETTINGS, prepared(folder)):
        pixels(SETTINGS, one)
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist())


def test_latents_are_made_once_per_crop_and_never_stale(folder: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, crops=CropSettings(flip=0.5))
    items = prepared(folder)
    cache = Cache(tmp_path / "cache")
    for one in planned(settings, items, 8):
        (got,) = latents(settings, [one], encode, cache, "vae 1")
        assert torch.equal(got["mean"], encode(pixels(settings, one)[0][None])["mean"][0])
    crops = {(one.item.id, one.crop) for one in planned(settings, items, 8)}
    assert cache.counts.made == len(crops) <= 14 and cache.counts.read == 56 - len(crops)
    one = planned(settings, items)[0]
    key = latent_key(settings, one, "vae 1")
    other = replace(settings, crops=CropSettings(resample="lanczos"))
    assert len({cache.path(k) for k in (key, latent_key(settings, one, "vae 2"), latent_key(other, one, "vae 1"))}) == 3


def test_cached_latents_need_no_picture(folder: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, crops=CropSettings())
    all_plans = planned(settings, prepared(folder))
    first = latents(settings, all_plans[:1], encode, Cache(tmp_path / "cache"), "vae")
    for path in folder.glob("*.png"):
        path.unlink()
    again = latents(settings, all_plans[:1], encode, Cache(tmp_path / "cache"), "vae")
    assert torch.equal(first[0]["mean"], again[0]["mean"])
    with pytest.raises(BadInput, match="no such file"):
        latents(settings, all_plans[1:2], encode, Cache(tmp_path / "cache"), "vae")


def test_a_picture_whose_latents_are_not_finite_is_named(folder: Path, tmp_path: Path) -> None:
    one = planned(SETTINGS, prepared(folder))[0]
    with pytest.raises(Failed, match=one.item.path.name):
        latents(SETTINGS, [one], lambda color: {"mean": color * float("inf")}, Cache(tmp_path / "cache"), "vae")


def test_alpha_masks_follow_the_crop_down_to_the_latents(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    picture = np.full((64, 96, 4), 255, np.uint8)
    picture[:, :48, 3] = 0
    Image.fromarray(picture).save(tmp_path / "set/a.png")
    masked = PictureSettings(16, alpha_mask=True)
    for flip in (0.0, 1.0):
        settings = replace(SETTINGS, pictures=masked, crops=CropSettings(flip=flip))
        (one,) = planned(settings, prepared(tmp_path / "set", settings))
        mask = pixels(settings, one)[1]
        assert mask is not None and mask.shape == (one.size_ids[4], one.size_ids[5])
        (got,) = latents(settings, [one], encode, Cache(tmp_path / "cache"), "vae")
        assert got["mask"].shape == (mask.shape[0] // 8, mask.shape[1] // 8)
        empty = got["mask"][:, -1] if flip else got["mask"][:, 0]
        assert float(empty.max()) == 0 and float(got["mask"].max()) == 1
        assert float(got["mask"].mean()) == pytest.approx(float(mask.mean()))


def test_text_states_are_made_once_per_text_and_encoder(tmp_path: Path) -> None:
    made: list[str] = []

    def clip(text: str) -> dict[str, torch.Tensor]:
        made.append(text)
        return {"context": torch.full((77, 4), float(len(text))), "pooled": torch.zeros(8)}

    cache = Cache(tmp_path)
    got = texts(["", "a cat", "", "犬"], clip, cache, "te 1")
    assert made == ["", "a cat", "犬"] and [float(one["context"][0, 0]) for one in got] == [0, 5, 0, 1]
    texts(["a cat"], clip, cache, "te 1")
    assert len(made) == 3
    texts(["a cat"], clip, cache, "te 2")
    assert len(made) == 4


def test_settings_that_do_nothing_are_collected() -> None:
    settings = DataSettings(
        buckets=BucketSettings(steps=32, enabled=False),
        crops=CropSettings(variants=2),
        captions=CaptionSettings(keep=2),
    )
    assert [text.split()[0] for text in settings.inert()] == ["buckets.steps", "crops.variants", "captions.keep"]
    with pytest.raises(BadInput, match="batch_size"):
        DataSettings(batch_size=0)
