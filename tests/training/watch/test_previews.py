"""Previews: what is asked for, the growing sheet, and a folder that can be cut back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import Picture, PictureRequest
from lib_astolfo.training.watch.previews import BASE, SHEET, Album, cells
from lib_astolfo.training.watch.settings import Previews
from lib_astolfo.training.watch.sheet import draw_sheet, write_sheet

SETTINGS = Previews(
    every=10,
    prompts=("red seven", "a blue one"),
    ratios=(0.5, 1.0),
    unconds=(Uncond("zero"), Uncond("null")),
    seeds=(3, 4),
    rows=5,
)
V = Sampling("v")


class Drawing:
    """Pictures of one colour: the red of the ratio, the green of the uncond, the blue of the seed."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, PictureRequest]] = []

    def __call__(self, requests: Sequence[PictureRequest], ratio: float) -> list[Picture]:
        self.asked += [(ratio, request) for request in requests]
        modes = {"zero": 50, "null": 150}
        colours = [(round(200 * ratio), modes[one.uncond.mode], 40 * one.seed) for one in requests]
        return [
            Picture(Image.new("RGB", (32, 48), colour), f"{request.prompt}, ratio {ratio:g}", request)
            for request, colour in zip(requests, colours, strict=True)
        ]


def test_every_ratio_uncond_prompt_and_seed_is_drawn_and_the_base_once(tmp_path: Path) -> None:
    album, draw = Album(tmp_path, SETTINGS, V), Drawing()
    drawn = album.draw(0, draw)
    assert {ratio: len(paths) for ratio, paths in drawn.items()} == {0.5: 8, 1.0: 8}
    assert [ratio for ratio, _ in draw.asked] == [0.0] * 8 + [0.5] * 8 + [1.0] * 8
    for ratio, request in draw.asked:
        assert request.sampling == (V if ratio else None), "the base is drawn as its checkpoint says"
    first = draw.asked[8][1]
    assert (first.prompt, first.seed, first.uncond.mode, first.cfg) == ("red seven", 3, "zero", SETTINGS.cfg)
    with Image.open(drawn[0.5][0]) as image:
        assert image.text["parameters"] == "red seven, ratio 0.5"  # type: ignore[attr-defined]


def test_what_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    album, draw = Album(tmp_path, SETTINGS, V), Drawing()
    album.draw(10, draw)
    drawn = len(draw.asked)
    (album.of(10) / cells(SETTINGS)[3].file(SETTINGS)).unlink()
    album.draw(10, draw)
    assert len(draw.asked) == drawn + 1 and draw.asked[-1][1].seed == 4
    album.draw(20, draw)
    assert len(draw.asked) == drawn + 1 + 16, "the base stays"


def test_another_prompt_is_another_picture(tmp_path: Path) -> None:
    """A run that is gone on with under other settings draws its base again, and leaves old places empty."""
    Album(tmp_path, SETTINGS, V).draw(10, Drawing())
    other = Album(tmp_path, replace(SETTINGS, prompts=("green two", "a blue one")), V)
    draw = Drawing()
    other.draw(20, draw)
    assert [request.prompt for _, request in draw.asked[:4]] == ["green two"] * 4, "of the base, the new ones alone"
    assert len(draw.asked) == 4 + 16
    assert draw_sheet(other).height > 0


def test_the_sheet_has_a_row_a_time_and_a_column_a_picture(tmp_path: Path) -> None:
    album, draw = Album(tmp_path, SETTINGS, V), Drawing()
    album.draw(0, draw)
    one = draw_sheet(album)
    album.draw(10, draw)
    two = draw_sheet(album)
    assert two.height > one.height and two.width == one.width
    assert two.tobytes()[: 100 * 3] == one.tobytes()[: 100 * 3]
    base = {one.getpixel((x, 160)) for x in range(one.width)}
    assert {(0, 50, 120), (0, 50, 160), (0, 150, 120), (0, 150, 160)} <= base, "the first row: the base"
    colours = {two.getpixel((x, two.height - 40)) for x in range(two.width)}
    assert {(200, 50, 120), (200, 150, 160), (100, 50, 120)} <= colours, "the last row: step 10"


def test_a_long_run_shows_the_first_the_last_and_some_between(tmp_path: Path) -> None:
    album = Album(tmp_path, SETTINGS, V)
    for step in range(0, 200, 10):
        album.of(step).mkdir(parents=True)
    shown = album.shown()
    assert len(shown) == 5 and shown[0] == 0 and shown[-1] == 190 and shown == sorted(shown)


def test_a_cut_leaves_the_same_sheet_as_a_run_that_came_no_further(tmp_path: Path) -> None:
    whole, cut = (Album(tmp_path / name, SETTINGS, V) for name in ("whole", "cut"))
    for step in (0, 10):
        whole.draw(step, Drawing())
    for step in (0, 10, 20):
        cut.draw(step, Drawing())
        write_sheet(cut)
    cut.cut(10)
    assert cut.steps() == [0, 10] and not (cut.folder / SHEET).exists()
    assert write_sheet(cut).read_bytes() == write_sheet(whole).read_bytes()
    assert len(list((cut.folder / BASE).iterdir())) == 8


def test_settings_that_cannot_be() -> None:
    with pytest.raises(BadInput, match=r"previews\.prompts"):
        Previews(every=10)
    with pytest.raises(BadInput, match=r"previews\.ratios"):
        Previews(ratios=(0.5, 0.5))
    with pytest.raises(BadInput, match="previews"):
        Previews(seeds=())
