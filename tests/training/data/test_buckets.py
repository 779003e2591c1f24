"""Buckets, resized sizes and size ids against kohya's own results; settings that make no sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.buckets import BucketSettings, Fit, crop_ids, fit, resolutions

CASES = json.loads(Path(__file__).with_name("kohya_buckets.json").read_text("utf-8"))["cases"]


def settings_of(case: dict[str, Any]) -> BucketSettings:
    width, height = case["resolution"]
    names = ("smallest", "longest", "steps", "no_upscale")
    return BucketSettings(width, height, **{name: case[name] for name in names})


def label(case: dict[str, Any]) -> str:
    return "{resolution}-{smallest}-{longest}-{steps}-{no_upscale}".format(**case).replace(" ", "")


@pytest.mark.parametrize("case", CASES, ids=label)
def test_the_list_is_kohyas(case: dict[str, Any]) -> None:
    assert [list(size) for size in resolutions(settings_of(case))] == case["buckets"]


@pytest.mark.parametrize("case", CASES, ids=label)
def test_bucket_size_and_ids_are_kohyas(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    for row in case["rows"]:
        size = (row[0], row[1])
        if len(row) == 2:  # kohya divides by zero, or makes a bucket without pixels
            with pytest.raises(BadInput, match="pixels"):
                fit(settings, *size)
            continue
        found = fit(settings, *size)
        top, left = crop_ids(found.bucket, size)
        flipped = crop_ids(found.bucket, size, flipped=True)
        assert [*size, *found.bucket, *found.resized, left, top, flipped[1]] == row
        assert flipped[0] == top


@pytest.mark.parametrize("case", CASES, ids=label)
def test_a_bucket_never_reaches_outside_the_resized_picture(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    for row in case["rows"]:
        if len(row) == 2:
            continue
        found = fit(settings, row[0], row[1])
        assert found.bucket[0] <= found.resized[0] and found.bucket[1] <= found.resized[1]
        assert found.bucket[0] * found.bucket[1] <= settings.width * settings.height
        assert 0 <= found.cropped < 1
        if settings.no_upscale:
            assert found.resized[0] <= row[0] + 1 and found.resized[1] <= row[1] + 1


def test_the_usual_buckets() -> None:
    assert len(resolutions(BucketSettings())) == 41
    assert len(resolutions(BucketSettings(longest=1024))) == 25
    assert fit(BucketSettings(), 2000, 3000) == Fit((832, 1216), (832, 1248))
    assert fit(BucketSettings(longest=1024), 2000, 3000).bucket == (704, 1024)


def test_one_fixed_size_without_buckets() -> None:
    settings = BucketSettings(64, 48, enabled=False)
    assert resolutions(settings) == ((64, 48),)
    assert fit(settings, 200, 100) == Fit((64, 48), (96, 48))


def test_limits_are_brought_to_steps() -> None:
    assert BucketSettings(smallest=300, longest=1300).limits == (256, 1344)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"steps": 12}, "steps"),
        ({"steps": 0}, "steps"),
        ({"width": -1}, "width"),
        ({"height": True}, "height"),
        ({"longest": 512}, "longest"),
        ({"smallest": 1100}, "smallest"),
        ({"smallest": 63}, "smallest"),
        ({"width": 1020, "enabled": False}, "width and height"),
        ({"no_upscale": True, "enabled": False}, "no_upscale"),
    ],
)
def test_settings_without_sense_are_refused(values: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput, match=where):
        BucketSettings(**values)


def test_settings_that_do_nothing_are_named() -> None:
    assert BucketSettings(smallest=512).inert() == ()
    assert "smallest" in BucketSettings(smallest=512, no_upscale=True).inert()[0]
    assert "steps" in BucketSettings(steps=32, enabled=False).inert()[0]


def test_an_empty_picture_has_no_bucket() -> None:
    with pytest.raises(BadInput, match="0 x 5"):
        fit(BucketSettings(), 0, 5)
