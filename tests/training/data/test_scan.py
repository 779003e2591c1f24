"""The scan: ids by content, duplicates, what is left out with its reason; the report and the digest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.buckets import BucketSettings, Fit
from lib_astolfo.training.data.captions import CaptionSettings
from lib_astolfo.training.data.crops import CropSettings
from lib_astolfo.training.data.pictures import PictureSettings
from lib_astolfo.training.data.report import report
from lib_astolfo.training.data.scan import Scanned, scan
from lib_astolfo.training.data.settings import DataSettings
from lib_astolfo.training.data.sources import Source, read_all

Paint = Callable[..., Path]
BUCKETS = BucketSettings(128, 128, 64, 256, 64)


def scanned(*folders: Path, buckets: BucketSettings = BUCKETS, **options: object) -> Scanned:
    reading = read_all(tuple(Source(str(folder)) for folder in folders))
    return scan(reading, PictureSettings(shortest=32), buckets, **options)  # type: ignore[arg-type]


def test_every_picture_is_an_item_or_left_out_by_name(paint: Paint, tmp_path: Path) -> None:
    paint("set/good.png", (100, 70))
    paint("set/tiny.png", (31, 200))
    paint("set/cut.png").write_bytes(paint("set/cut.png").read_bytes()[:500])
    paint("set/thin.png", (40, 400))
    paint("set/never/zero.png")
    (tmp_path / "set/never/multiply.txt").write_text("0")
    found = scanned(tmp_path / "set", buckets=BucketSettings(128, 128, no_upscale=True, steps=64))
    assert [(item.path.name, item.fit) for item in found.items] == [("good.png", Fit((64, 64), (100, 70)))]
    said = {"tiny": "31 x 200", "cut": "truncated", "thin": "no bucket for 40 x 400", "zero": "multiply 0"}
    assert {left.path.stem for left in found.left_out} == set(said)
    assert all(said[left.path.stem] in left.reason for left in found.left_out)


def test_ids_follow_from_content_alone(paint: Paint, tmp_path: Path) -> None:
    paint("one/a.png", seed=1)
    paint("one/b.png", seed=2)
    paint("two/renamed.png", seed=2)
    paint("two/other.png", seed=1)
    first, second = scanned(tmp_path / "one"), scanned(tmp_path / "two")
    assert {item.id for item in first.items} == {item.id for item in second.items}
    assert first.digest == second.digest
    (tmp_path / "two/other.txt").write_text("changed")
    assert scanned(tmp_path / "two").digest != first.digest


def test_duplicates_are_told_and_left_out_on_demand(paint: Paint, tmp_path: Path) -> None:
    for name in ("set/a.png", "set/b.png", "set/c.png"):
        paint(name, seed=1)
    paint("set/d.png", seed=2)
    kept = scanned(tmp_path / "set")
    assert len({item.id for item in kept.items}) == 4
    assert [[item.path.name for item in group] for group in kept.duplicates()] == [["a.png", "b.png", "c.png"]]
    single = scanned(tmp_path / "set", duplicates="leave_out")
    assert [item.path.name for item in single.items] == ["a.png", "d.png"]
    assert all("same bytes as" in left.reason and "a.png" in left.reason for left in single.left_out)
    with pytest.raises(BadInput, match="duplicates"):
        scanned(tmp_path / "set", duplicates="some")


def test_threads_and_progress_change_nothing(paint: Paint, tmp_path: Path) -> None:
    for number in range(12):
        paint(f"set/{number}.png", (64 + number, 64))
    told: list[tuple[int, int, str]] = []
    plain = scanned(tmp_path / "set", progress=lambda *at: told.append(at))
    assert plain == scanned(tmp_path / "set", workers=4)
    assert [at[:2] for at in told] == [(n, 12) for n in range(1, 13)]


def test_pictures_outside_the_allowed_folder_are_left_out(paint: Paint, tmp_path: Path) -> None:
    inside = paint("in/a.png")
    outside = paint("out/b.png")
    os.symlink(outside, tmp_path / "in/link.png")
    found = scanned(tmp_path / "in", within=tmp_path / "in")
    assert [item.path for item in found.items] == [inside]
    assert [left.path.name for left in found.left_out] == ["link.png"]
    assert len(scanned(tmp_path / "in").items) == 2


def test_no_picture_at_all_is_an_error(tmp_path: Path, paint: Paint) -> None:
    with pytest.raises(BadInput, match="no picture"):
        scanned(tmp_path)
    paint("a.png", (5, 5))
    with pytest.raises(BadInput, match=r"a\.png.*5 x 5"):
        scanned(tmp_path)


def test_a_name_that_is_not_unicode(paint: Paint, tmp_path: Path) -> None:
    source = paint("set/a.png")
    try:
        source.rename(os.fsdecode(os.fsencode(tmp_path / "set") + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    found = scanned(tmp_path / "set")
    assert json.dumps(report(DataSettings(buckets=BUCKETS), found).to_dict()).encode()
    assert "\ufffd" in "\n".join(report(DataSettings(buckets=BUCKETS), found).lines()).encode().decode()


def test_the_report_says_everything_before_the_start(paint: Paint, tmp_path: Path) -> None:
    paint("4_cat/a.png", (256, 256), "one, two, three")
    paint("4_cat/b.png", (128, 64), caption="")
    paint("2_dog/c.png", (300, 60), "x")
    paint("2_dog/d.png", (256, 256), "one, two, three", seed=sum(b"4_cat/a.png"))
    paint("2_dog/bad.png").write_bytes(b"")
    reading = read_all((Source(str(tmp_path)),))
    settings = DataSettings(
        buckets=BUCKETS,
        captions=CaptionSettings(keep=1),
        crops=CropSettings("random"),
        pictures=PictureSettings(32, alpha_mask=True),
        batch_size=4,
    )
    found = scan(reading, settings.pictures, settings.buckets)
    told = report(settings, found, tokens=lambda text: len(text.split()), limit=2)
    assert (told.pictures, told.seen, told.batches) == (4, 12, 4)
    assert [(line.name, line.pictures, line.seen) for line in told.sources] == [("2_dog", 2, 4), ("4_cat", 2, 8)]
    assert [(line.size, line.pictures, line.seen, line.batches) for line in told.buckets] == [
        ((128, 128), 3, 10, 3),
        ((256, 64), 1, 2, 1),
    ]
    assert [Path(name).name for name, _ in told.left_out] == ["bad.png"] and "empty file" in told.left_out[0][1]
    assert [[Path(name).name for name in group] for group in told.duplicates] == [["d.png", "a.png"]]
    assert [(Path(name).name, text) for name, text in told.empty] == [("b.png", "cat")]
    assert told.tokens == {1: 2, 3: 2}
    assert [(Path(name).name, count) for name, count in told.over] == [("d.png", 3), ("a.png", 3)]
    assert [Path(name).name for name, _ in told.enlarged] == ["b.png"]
    words = "\n".join(told.lines())
    for word in (
        "left out: 1",
        "bad.png",
        "same bytes",
        "captions.keep",
        "alpha_mask",
        "cannot be cached",
        "256 x 64",
        "stands 'cat'",
    ):
        assert word in words, word
    json.dumps(told.to_dict())


def test_pictures_without_caption_are_named(paint: Paint, tmp_path: Path) -> None:
    paint("set/a.png", caption=None)
    paint("set/b.png", caption=" \n")
    told = report(DataSettings(buckets=BUCKETS), scanned(tmp_path / "set"))
    assert [(Path(name).name, text) for name, text in told.empty] == [("a.png", ""), ("b.png", "")]
    assert told.tokens is None and "b.png: stays empty" in "\n".join(told.lines())
