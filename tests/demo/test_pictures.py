"""The digits as a folder of pictures: every digit, captions that say what is seen, latents without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib_astolfo.demo import digits, models_folder, pictures, scores
from lib_astolfo.demo.network import open_network
from lib_astolfo.demo.vae import latents_of
from lib_astolfo.training.data.buckets import BucketSettings
from lib_astolfo.training.data.scan import scan
from lib_astolfo.training.data.settings import DataSettings
from lib_astolfo.training.data.sources import Source, read_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.write(tmp_path_factory.mktemp("digits") / "twenty", 20)


def test_the_captions_say_what_is_seen(folder: Path) -> None:
    files = sorted(folder.glob("*.png"))
    texts = [file.with_suffix(".txt").read_text("utf-8").strip() for file in files]
    asked = [digits.parse(text) for text in texts]
    assert sorted(each.digit for each in asked) == [digit for digit in range(10) for _ in range(2)]
    seen = np.stack([np.asarray(Image.open(file)) for file in files])
    found_digits, colours = scores.read(seen)
    assert found_digits == [each.digit for each in asked]
    assert all(each.colour in (None, colour) for each, colour in zip(asked, colours, strict=True))
    assert len(set(colours)) > 2


def test_fewer_are_the_first_of_more(folder: Path, tmp_path: Path) -> None:
    few = pictures.write(tmp_path / "few", 7)
    for file in few.iterdir():
        assert file.read_bytes() == (folder / file.name).read_bytes()
    red = pictures.write(tmp_path / "red", 3, colour="red")
    assert all(np.asarray(Image.open(file))[..., 1:].max() == 0 for file in red.glob("*.png"))


def test_a_training_scans_them_and_the_vae_loses_nothing(folder: Path) -> None:
    settings = DataSettings((Source(str(folder)),), buckets=BucketSettings(**pictures.BUCKETS))
    scanned = scan(read_all(settings.sources), settings.pictures, settings.buckets)
    assert {item.fit.bucket for item in scanned.items} == {(64, 64)}
    assert not scanned.left_out
    rgb = torch.from_numpy(np.asarray(Image.open(folder / "0001.png")).copy()).permute(2, 0, 1)[None] / 255.0
    with open_network(models_folder() / "digits-eps.safetensors") as network:
        encoded = network._model.encode_images(rgb * 2.0 - 1.0)
    small = torch.nn.functional.avg_pool2d(rgb, 8)
    assert torch.allclose(encoded, latents_of(small), atol=2e-3)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for words in (["--count", "0"], ["--count", "2000"], ["--colour", "pink"]):
        assert pictures.main(["--out", str(tmp_path / "none"), *words]) == 2
    assert not (tmp_path / "none").exists()
