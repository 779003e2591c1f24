"""What is written for people: contact sheet, curves, tables and the page that holds them all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image

from lib_astolfo.search import curves, files, outcome, report, sheet, table
from lib_astolfo.search.report import Extra
from lib_astolfo.search.study import StudyResult
from lib_astolfo.search.verdict import verdict

Construct = Callable[..., StudyResult]

AXES = {"ratio": "0-1 [6]", "cfg": [1.5, 4], "uncond": ["zero", None]}


def truth(v: Mapping[str, Any]) -> dict[str, float]:
    return {"near": 0.95 + 0.6 * (v["ratio"] - 0.4) ** 2 + 0.1 * (v["cfg"] < 4), "brightness": 0.3}


def test_tiles_and_back() -> None:
    images = [Image.new("RGB", (64, 32), (i, 0, 0)) for i in range(7)]
    whole = sheet.tiles(images, 64)
    assert whole.size == (192, 96)
    assert [one.getpixel((3, 3))[0] for one in sheet.untile(whole, 7, 5)] == [0, 1, 2, 3, 4]
    assert sheet.tiles(images, 32).size == (96, 48), "no picture longer than asked"
    large = sheet.tiles([Image.new("RGB", (1344, 768))] * 64, 1344)
    assert max(large.size) <= sheet.MAX_SIDE


def test_the_sheet_holds_every_cell_at_its_place(construct: Construct) -> None:
    result = construct(AXES, truth)
    image = sheet.contact_sheet(result)
    pixels = np.asarray(image)
    first = {tuple(np.asarray(Image.open(result.folder / cell.picture))[5, 5]) for cell in result.cells}
    assert all((pixels == colour).all(axis=2).any() for colour in first), "one picture of every cell is on it"
    marked = (pixels == (0xD5, 0x5E, 0x00)).all(axis=2)
    assert marked.sum() > 500, "the best cell is framed"


def test_the_sheet_carries_infotext(construct: Construct) -> None:
    result = construct(AXES, truth)
    files.write(result, verdict(result))
    text = Image.open(result.folder / files.SHEET).info["parameters"]
    assert text.startswith("red seven\nSteps: 8, Sampler: Euler")
    assert 'Astolfo grid: "ratio: 0, 0.2, 0.4, 0.6, 0.8, 1; cfg: 1.5, 4; uncond: zero, null"' in text
    cell = Image.open(result.folder / result.cells[3].picture).info["parameters"]
    assert cell == result.cells[3].infotext
    assert not list(result.folder.glob(".*.part")), "nothing half-written is left"


def test_a_sheet_with_missing_cells_and_long_names(construct: Construct) -> None:
    from dataclasses import replace

    axes = {"ratio": [0, 1], "prompt": ["a very long prompt indeed, " * 9, "ΣΙΗ 赤い"], "cfg": [4]}
    result = construct(axes, lambda v: {"near": v["ratio"]})
    assert sheet.contact_sheet(replace(result, cells=result.cells[:1], stopped=True)).size[0] > 400


def test_curves_have_a_panel_per_cfg_and_a_row_per_score(construct: Construct) -> None:
    result = construct(AXES, truth)
    made = curves.figure(result)
    assert len(made.axes) == 4
    assert [axes.get_title() for axes in made.axes[:2]] == ["CFG 1.5", "CFG 4"]
    assert made.axes[0].get_ylabel() == "near (lower is better)"
    assert {text.get_text() for text in made.legends[0].get_texts()} == {"zero uncond", "null uncond"}
    line = made.axes[1].get_lines()[0]
    assert list(line.get_xdata()) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert made.axes[0].containers, "error bars"
    assert curves.png(result, style=curves.DARK)[:4] == b"\x89PNG"


def test_curves_touch_no_global_state(construct: Construct) -> None:
    import sys

    before = "matplotlib.pyplot" in sys.modules
    curves.png(construct({"ratio": [0, 1]}, lambda v: {"near": v["ratio"]}))
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_the_table_marks_the_best(construct: Construct) -> None:
    result = construct(AXES, truth, noise=0.005)
    text = table.text(result, result.plan.scores["near"])
    lines = text.splitlines()
    assert "lower is better" in lines[0]
    assert lines[1].split()[:3] == ["ratio", "CFG", "1.5"]
    row = next(line for line in lines if line.startswith("0.4"))
    assert row.count("*") + row.count("<") == 4, "0.4 is the best ratio of every column"
    assert text.count("<") == 2, "one winner, and the legend"


class Page(HTMLParser):
    """Collects what a page refers to, and that its tags are closed in order."""

    void = frozenset({"meta", "img", "source", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Page:
    parsed = Page()
    parsed.feed(page)
    assert not parsed.open
    return parsed


def test_the_report_is_self_contained(construct: Construct) -> None:
    result = construct(AXES, truth)
    page = report.html(result, verdict(result))
    parsed = read(page)
    assert len(parsed.references) == 6, "winner, light curves, dark curves, sheet, best and worst by the score"
    assert all(reference.startswith("data:image/") for reference in parsed.references)
    assert not {"script", "link", "iframe", "a"} & set(parsed.tags)
    assert not re.search(r"https?://|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    assert parsed.text.index("What was found") < parsed.text.index("Contact sheet"), "words first"


def test_the_report_escapes_everything(construct: Construct) -> None:
    evil = "<script>alert('x')</script>&\"'"
    settings = {"models": {"a": evil, "b": evil + ".safetensors"}, "negative": evil, "prompts": [evil]}
    result = construct({"ratio": [0, 0.5, 1], "prompt": [evil]}, lambda v: {"near": v["ratio"]}, settings=settings)
    page = report.html(result, verdict(result), Extra(title=evil, facts={evil: evil}, recipe=evil))
    parsed = read(page)
    assert "script" not in parsed.tags
    assert parsed.text.count("alert('x')") >= 6, "shown as text"


def test_the_report_of_one_picture_without_errors(construct: Construct) -> None:
    result = construct({"ratio": [0, 1]}, lambda v: {"near": 1 + v["ratio"]}, pictures=1)
    read(report.html(result, verdict(result)))
    unscored = construct({"cfg": [1, 2]}, lambda v: {"brightness": 0.5}, pictures=2)
    read(report.html(unscored, verdict(unscored)))


def test_the_result_is_json_without_nan(construct: Construct) -> None:
    import json

    result = construct(AXES, truth, pictures=1)
    found = outcome.as_dict(result, verdict(result), {})
    back = json.loads(json.dumps(found, allow_nan=False))
    assert back["winner"]["recipe"]["models"] == {"a": "base.safetensors", "b": "trained.safetensors"}
    assert back["winner"]["recipe"]["ratio"] == 0.4
    assert back["winner"]["sampling"]["prediction"] == "v"
    assert back["winner"]["uncond"]["mode"] in ("zero", "null")
    assert back["winner"]["cfg"] == 4.0
    assert back["cells"][0]["scores"]["near"]["error"] is None
    assert len(back["cells"]) == 24
    assert len(back["optima"]) == 4


def test_the_winner_s_recipe_can_be_read_back(construct: Construct) -> None:
    from lib_astolfo.merging.recipe import Recipe

    result = construct(AXES, truth)
    text = outcome.recipe_text(result)
    assert text.startswith("# found with ratio 0.4, CFG 4")
    assert Recipe.from_yaml(text).ratio == 0.4
