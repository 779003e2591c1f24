"""Studies read from their folders without models, and the page that shows them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_astolfo.errors import Failed, Unknown
from lib_astolfo.search import kept, look, look_page
from lib_astolfo.search.store import CELLS_FILE, GRID, SEARCH, STUDY, CellStore
from lib_astolfo.search.study import StudyResult
from lib_astolfo.search.verdict import verdict

Construct = Callable[..., StudyResult]
AXES = {
    "ratio": [0, 0.4, 1],
    "uncond": ["zero", None, "average 0.7"],
    "prediction": ["v", "rf shift 3"],
    "blocks": [{"BASE": 0.5}],
}
NASTY = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def truth(v: Mapping[str, Any]) -> dict[str, float]:
    return {"near": 1 + (v["ratio"] - 0.4) ** 2, "brightness": 0.3}


def write(result: StudyResult, cells: int | None = None, kind: str = GRID) -> kept.Kept:
    store = CellStore(result.folder)
    store.begin(result.plan, kind)
    for one in result.cells[:cells]:
        store.append(result.plan, one)
    return kept.read(result.folder)


def test_a_study_is_read_as_it_was(construct: Construct) -> None:
    result = construct(AXES, truth, pictures=3)
    found = write(result)
    assert found.fingerprint == found.plan.fingerprint == result.plan.fingerprint
    again = found.result()
    assert [one.cell.values for one in again.cells] == [one.cell.values for one in result.cells]
    assert [one.cell.key for one in again.cells] == [one.cell.key for one in result.cells]
    assert verdict(again).text() == verdict(result).text()
    assert again.plan.recipe(again.cells[4].cell) == result.plan.recipe(result.cells[4].cell)
    assert again.plan.requests(again.cells[4].cell) == result.plan.requests(result.cells[4].cell)
    with pytest.raises(Failed, match="read from its folder"):
        again.plan.scores["near"].function(np.zeros((1, 8, 8, 3), np.uint8), ["x"])


def test_a_study_that_grows(construct: Construct) -> None:
    result = construct({"ratio": [0, 0.5, 1]}, truth, pictures=2)
    found = write(result, 0)
    with pytest.raises(Unknown, match="no finished cell"):
        found.result()
    before, empty = found.mark, look.view(found)
    assert empty["cells"] == [] and empty["best"] is None and empty["planned"] == 3
    CellStore(result.folder).append(result.plan, result.cells[2])
    assert found.mark != before and found.result().stopped
    assert [one["at"] for one in look.view(found)["cells"]] == [[2]]


def test_a_search_has_the_values_that_came(construct: Construct) -> None:
    result = construct({"ratio": [0, 0.5, 1]}, truth, pictures=2)
    found = write(replace(result, cells=(result.cells[2], result.cells[0])), kind=SEARCH)
    shown = look.view(found)
    assert [value["text"] for value in shown["axes"][0]["values"]] == ["0", "1"]
    assert shown["planned"] is None and [one["label"] for one in shown["cells"]] == ["ratio 0", "ratio 1"]


def test_lines_of_other_studies_and_lost_pictures_do_not_count(construct: Construct) -> None:
    result = construct({"ratio": [0, 0.5, 1]}, truth, pictures=2)
    found = write(result)
    (result.folder / result.cells[1].picture).unlink()
    lines = (result.folder / CELLS_FILE).read_text().replace(result.plan.fingerprint, "other").splitlines()[0]
    with open(result.folder / CELLS_FILE, "a") as file:
        file.write(lines + "\n{torn")
    assert [one.cell.label for one in found.cells()] == ["ratio 0", "ratio 1"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "grid"}', "null"])
def test_folders_that_hold_no_study(tmp_path: Path, text: str) -> None:
    with pytest.raises(Unknown, match="study"):
        kept.read(tmp_path)
    (tmp_path / STUDY).write_text(text)
    with pytest.raises(Failed, match=r"study\.json cannot be read"):
        kept.read(tmp_path)


def test_what_the_page_needs(construct: Construct) -> None:
    result = construct(AXES, truth, pictures=3, settings={"prompts": ["red seven", NASTY], "seed": 7})
    shown = look.view_of(result)
    json.dumps(shown, allow_nan=False)
    assert [axis["name"] for axis in shown["axes"]] == ["ratio", "blocks", "uncond", "prediction"]
    assert [value["label"] for value in shown["axes"][2]["values"]][:2] == ["zero uncond", "null uncond"]
    assert shown["pictures"] == 3 and shown["across"] == 2
    assert shown["scenes"] == [{"prompts": ["red seven", NASTY], "seed": 7}]
    cell = next(one for one in shown["cells"] if one["id"] == shown["best"])
    assert cell["label"] == result.best().cell.label  # type: ignore[union-attr]
    mean, error, each = cell["scores"]["near"]
    assert mean == pytest.approx(np.mean(each), rel=1e-4) and error > 0
    assert {score["name"]: score["better"] for score in shown["scores"]} == {"near": "lower", "brightness": "none"}


def test_pictures_of_their_own_and_failed_ones(construct: Construct) -> None:
    result = construct({"ratio": [0, 1]}, truth, pictures=2, settings={"sub_images": True, "vary_seeds": True})
    blur = replace(result.plan.scores["brightness"], alarm=True)
    result = replace(result, plan=replace(result.plan, scores={**result.plan.scores, "brightness": blur}))
    shown = look.view_of(result)
    assert shown["cells"][0]["own"] == "pictures/" + Path(result.cells[0].picture).stem
    seeds = [shown["scenes"][one["scene"]]["seed"] for one in shown["cells"]]
    assert seeds == [result.plan.requests(one.cell)[0].seed for one in result.cells] and seeds[0] != seeds[1]
    assert shown["cells"][0]["failed"] == {"brightness": pytest.approx(0.3, abs=0.15)}


def test_scenes_of_a_prompt_axis(construct: Construct) -> None:
    result = construct({"ratio": [0, 1], "prompt": ["red seven", "blue two"]}, truth, pictures=2)
    shown = look.view_of(result)
    assert shown["scenes"] == [{"prompts": ["red seven"], "seed": 1}, {"prompts": ["blue two"], "seed": 1}]
    assert [one["scene"] for one in shown["cells"]] == [0, 1, 0, 1]


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def test_the_file_holds_everything_and_runs_nothing_of_prompts(construct: Construct) -> None:
    result = construct({"ratio": [0, 1]}, truth, pictures=2, settings={"prompts": [NASTY]})
    page = look_page.offline(result)
    assert NASTY not in page and page.count("<script") == 1 + len(look_page.SCRIPTS)
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page), "it asks for nothing"
    data = data_of(page)
    assert data["view"]["scenes"][0]["prompts"] == [NASTY] and not data["reduced"]
    for one in result.cells:
        content = base64.b64decode(data["pictures"][one.picture].partition(",")[2])
        assert content == (result.folder / one.picture).read_bytes()


def test_many_large_pictures_are_made_smaller_and_it_says_so(construct: Construct) -> None:
    result = construct({"ratio": [0, 1]}, truth, pictures=4)
    random = np.random.default_rng(0)
    for one in result.cells:
        noise = random.integers(0, 255, (900, 900, 3)).astype(np.uint8)
        Image.fromarray(noise).save(result.folder / one.picture)
    data = data_of(look_page.offline(result, largest=300_000))
    assert data["reduced"]
    for text in data["pictures"].values():
        content = base64.b64decode(text.partition(",")[2])
        assert len(content) <= 150_000 and max(Image.open(BytesIO(content)).size) >= look_page.SMALLEST


def test_the_served_page_names_its_parts_alone() -> None:
    page = look_page.served()
    assert re.findall(r'(?:src|href)="([^"]+)"', page) == [
        "data:,",
        "../../look/look.css",
        *(f"../../look/{name}" for name in look_page.SCRIPTS),
    ]
    assert all(look_page.part(name) for name in (look_page.STYLE, *look_page.SCRIPTS))
    for name in ("../look.py", "look.html", "", "..", "look_base.js/"):
        assert look_page.part(name) is None
