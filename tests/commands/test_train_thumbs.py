"""Small pictures of a data set: one sheet a bucket, cut as they are trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_astolfo.commands import train_thumbs
from lib_astolfo.training.data.buckets import BucketSettings
from lib_astolfo.training.data.scan import Scanned, scan
from lib_astolfo.training.data.settings import DataSettings
from lib_astolfo.training.data.sources import Source, read_all


@pytest.fixture
def data(tmp_path: Path) -> tuple[DataSettings, Scanned]:
    folder = tmp_path / "set"
    folder.mkdir()
    wide = Image.new("RGB", (400, 100), "red")  # far wider than its bucket: only the middle is trained
    wide.paste("blue", (150, 0, 250, 100))
    wide.save(folder / "wide.png")
    for number in range(15):
        Image.new("RGB", (128, 128), (number, 200, 0)).save(folder / f"{number:02}.png")
    (folder / "wide.txt").write_text("a wide one", "utf-8")
    settings = DataSettings((Source(str(folder)),), BucketSettings(128, 128, 64, 128))
    return settings, scan(read_all(settings.sources), settings.pictures, settings.buckets)


def test_a_sheet_for_each_bucket(data: tuple[DataSettings, Scanned], tmp_path: Path) -> None:
    settings, scanned = data
    seen: list[tuple[int, int, str]] = []
    made = train_thumbs.write(tmp_path / "job", settings, scanned, lambda *told: seen.append(told))
    assert [(one["size"], one["pictures"], one["columns"], one["rows"]) for one in made] == [
        ([128, 64], 1, 1, 1),
        ([128, 128], 15, 12, 2),
    ]
    assert seen[-1][:2] == (15, 16) and made[0]["items"][0]["caption"] == "a wide one"
    with Image.open(tmp_path / "job" / made[1]["file"]) as sheet:
        assert sheet.size == (12 * 72, 2 * 72)
    with Image.open(tmp_path / "job" / made[0]["file"]) as sheet:
        assert sheet.size == (144, 72)
        assert sheet.getpixel((72, 36))[2] > 200 and sheet.getpixel((4, 36))[0] > 200
        reds = sum(sheet.getpixel((x, 36))[0] > 128 for x in range(144))
        assert reds == pytest.approx(72, abs=5)  # of 200 of its 400 pixels, 100 are red


def test_of_many_a_part_and_of_lost_ones_none(
    data: tuple[DataSettings, Scanned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, scanned = data
    monkeypatch.setattr(train_thumbs, "MOST", 10)
    Path(settings.sources[0].path, "00.png").unlink()
    made = train_thumbs.write(tmp_path / "job", settings, scanned)
    assert [len(one["items"]) for one in made] == [1, 4] and made[1]["pictures"] == 15
