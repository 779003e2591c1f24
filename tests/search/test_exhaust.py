"""The exhaustion table: every combination is in it, drawn or with a reason; it goes on cell by cell."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_astolfo.commands import exhaust
from lib_astolfo.commands.exhaust import ExhaustSettings
from lib_astolfo.commands.terminal import TerminalTask
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import BASE, TRAINED, models_folder
from lib_astolfo.errors import BadInput, Stopped
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.scoring.score import Score, ScoreValues
from lib_astolfo.search.exhaustion import (
    BEST,
    BROKEN,
    DOUBT,
    DRAWN,
    FAILED,
    GOOD,
    SAME,
    SENSELESS,
    WORSE,
    Row,
    judge,
    judged,
)
from lib_astolfo.search.plan import Cell
from lib_astolfo.search.store import CellResult

RECIPE = {"method": "weighted_sum", "models": {"a": BASE, "b": TRAINED}, "ratio": 0.5, "dtype": "fp16"}
VALUES: dict[str, Any] = {
    "models": [TRAINED, RECIPE],
    "unconds": ["zero", None],
    "predictions": ["auto", "v ztsnr", "eps ztsnr"],
    "prompts": ["red seven", "blue two"],
    "pictures": 2,
    "steps": 2,
    "probe_count": 4,
}


def run(workspace: Workspace, place: Path, **values: Any) -> dict[str, Any]:
    task = TerminalTask("exhaust", place)
    try:
        return exhaust.run(ExhaustSettings(**{**VALUES, **values}), workspace, task)
    finally:
        task.close()


def by_status(result: Mapping[str, Any]) -> dict[tuple[str, str, str], str]:
    return {
        (model["name"], row["prediction"], row["uncond"]): row["status"]
        for model in result["models"]
        for row in model["rows"]
    }


def test_every_combination_is_in_the_table(workspace: Workspace, tmp_path: Path) -> None:
    result = run(workspace, tmp_path, folder="all of it")
    found = by_status(result)
    assert len(found) == 2 * 3 * 2
    assert {found[("digits-v", "v ZTSNR (as it says)", uncond)] for uncond in ("zero", "null")} == {DRAWN}
    assert found[("digits-v", "v ZTSNR", "zero")] == SAME
    assert found[("digits-v", "eps ztsnr", "null")] == SENSELESS
    assert result["counts"] == {"drawn": 4, "same": 4, "senseless": 4, "failed": 0, "waiting": 0}
    senseless = [row for row in result["models"][0]["rows"] if row["status"] == SENSELESS]
    assert all("zero SNR" in row["reason"] for row in senseless)
    merged = result["models"][1]
    assert merged["said"] == "v ZTSNR", "as the merge's own rules say"
    assert merged["probe"]["family"]["best"] in ("eps", "v", "rf")
    folder = workspace.host.folders.outputs / "all of it"
    for model in result["models"]:
        for row in model["rows"]:
            assert (row["picture"] != "") == (row["status"] == DRAWN)
            assert not row["picture"] or (folder / row["picture"]).is_file()
    json.dumps(result, allow_nan=False)


def test_the_files(workspace: Workspace, tmp_path: Path) -> None:
    result = run(workspace, tmp_path, folder="all of it")
    folder = workspace.host.folders.outputs / "all of it"
    assert set(result["files"]) == {"sheet", "report", "csv", "json"}
    with open(folder / "exhaustion.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert [row["near"] != "" for row in rows] == [row["status"] == DRAWN for row in rows]
    page = (folder / "exhaustion.html").read_text(encoding="utf-8")
    assert page.count("<td class=") == 12
    assert page.count("data:image/jpeg") == 4 + 1, "every verdict has its pictures"
    assert "http" not in page.replace("http-equiv", "")
    assert "Steps: 2" in Image.open(folder / "exhaustion.png").info["parameters"]
    assert result["models"][0]["name"] in exhaust.show(result)


def test_it_goes_on_where_it_was(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    original = StandaloneHost.generate

    def counted(self: StandaloneHost, requests: Any, **more: Any) -> Any:
        if len(drawn) == 3:
            raise Stopped("stopped")
        drawn.append(len(requests))
        return original(self, requests, **more)

    monkeypatch.setattr(StandaloneHost, "generate", counted)
    first = run(workspace, tmp_path, folder="twice", probe=False)
    assert first["stopped"]
    assert first["counts"]["drawn"] == 3
    assert first["counts"]["waiting"] == 1
    monkeypatch.setattr(StandaloneHost, "generate", lambda *a, **k: (drawn.append(1), original(*a, **k))[1])
    again = run(workspace, tmp_path, folder="twice", probe=False)
    assert again["counts"]["drawn"] == 4
    assert len(drawn) == 4, "what was drawn is not drawn again"


def test_a_model_that_cannot_be_drawn_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_astolfo.errors import Failed

    shutil.copytree(models_folder(), tmp_path / "models")
    own = Workspace(StandaloneHost([tmp_path / "models"], tmp_path / "outputs", device="cpu"))
    original = StandaloneHost.load

    def load(self: StandaloneHost, name: str) -> Any:
        if name == BASE:
            raise Failed("its weights are damaged")
        return original(self, name)

    monkeypatch.setattr(StandaloneHost, "load", load)
    result = run(own, tmp_path, models=[BASE, TRAINED], predictions=["auto"])
    assert [row["status"] for row in result["models"][0]["rows"]] == [FAILED, FAILED]
    assert "damaged" in result["models"][0]["rows"][1]["reason"]
    assert "damaged" in result["models"][0]["note"]
    assert [row["status"] for row in result["models"][1]["rows"]] == [DRAWN, DRAWN]


def test_models_keep_their_names_when_they_are_read_again(tmp_path: Path) -> None:
    from lib_astolfo.commands.exhaust_models import subjects
    from lib_astolfo.merging.recipe import Recipe

    own = Workspace(StandaloneHost([models_folder()], tmp_path / "outputs", device="cpu"), free_paths=True)
    path = tmp_path / "half and half.yaml"
    path.write_text(Recipe.from_dict(RECIPE).to_yaml(), "utf-8")
    settings = exhaust.check(ExhaustSettings(**{**VALUES, "models": [str(path), TRAINED]}), own)
    path.unlink()
    again = subjects(settings, own)
    assert [one.name for one in again] == ["half and half", "digits-v"]
    assert again[0].recipe is not None
    assert again[0].base == BASE


def test_the_table_says_what_cfg_1_does(workspace: Workspace) -> None:
    from lib_astolfo.commands.exhaust_models import subjects

    rows = subjects(ExhaustSettings(**{**VALUES, "cfg": 1.0, "models": [TRAINED]}), workspace)[0].rows
    assert [row.status for row in rows[:2]] == ["waiting", SAME]
    assert "no uncond" in rows[1].reason


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"models": []}, "models"),
        ({"models": ["gone"]}, "models[0]"),
        ({"models": [TRAINED, 7]}, "models[1]"),
        ({"predictions": ["vpred"]}, "predictions"),
        ({"unconds": ["nul"]}, "unconds"),
        ({"unconds": []}, "unconds"),
        ({"prompts": []}, "prompts"),
        ({"pictures": 0}, "pictures"),
        ({"folder": "../x"}, "folder"),
    ],
)
def test_refused(workspace: Workspace, changes: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        exhaust.check(ExhaustSettings(**{**VALUES, **changes}), workspace)
    assert where in caught.value.where


NEAR = Score("near", lambda pictures, prompts: ScoreValues(0.0, 0.0), "lower")
BLANK = replace(NEAR, name="blank", alarm=True, limit=0.0)
SCORES = {"near": NEAR, "blank": BLANK}


def row(near: list[float], blank: float = 0.0, prediction: str = "v") -> Row:
    import numpy as np

    scores = {"near": ScoreValues.of(np.array(near)), "blank": ScoreValues(blank, 0.0, np.full(len(near), blank))}
    return Row("m", prediction, "zero", DRAWN, cell=CellResult(Cell(0, {}), scores, "x.png"))


def test_verdicts() -> None:
    rows = [row([1.0, 1.1, 0.9]), row([1.02, 1.1, 0.91]), row([2.0, 2.1, 1.9]), row([0.1, 0.1, 0.1], blank=0.7)]
    levels = [level for level, _ in judge(rows, SCORES, NEAR)]
    assert levels == [BEST, GOOD, WORSE, BROKEN], "a broken row is not what others are compared with"
    words = [text for _, text in judge(rows, SCORES, NEAR)]
    assert "1.000 ± 0.000" in words[2]
    assert "blank in 70 %" in words[3]


def test_the_probe_casts_doubt_on_good_looks() -> None:
    readings = [{"prediction": name, "log_error": {"mean": mean}} for name, mean in (("eps", -2.0), ("v", -1.2))]
    probe = {"family": {"readings": readings}}
    found = judged([row([1.0, 1.1]), row([1.0, 1.1], prediction="eps")], SCORES, NEAR, probe)
    assert [one.level for one in found] == [DOUBT, GOOD]
    assert "eps denoises better by 0.80 nats" in found[0].verdict
