"""The best cell of a grid or a search as a file: what is in it, and that it draws what the live merge drew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.commands import bake, bake_study, grid, search
from lib_astolfo.commands.bake import BakeSettings
from lib_astolfo.commands.grid import GridSettings
from lib_astolfo.commands.search import SearchSettings
from lib_astolfo.commands.terminal import TerminalTask
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import BASE, TRAINED, models_folder
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost

VALUES: dict[str, Any] = {
    "models": {"a": BASE, "b": TRAINED},
    "prompts": ["red seven", "blue two"],
    "pictures": 2,
    "steps": 2,
    "scores": ["near"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A models folder first in line for what is baked."""
    baked = tmp_path_factory.mktemp("baked")
    return Workspace(StandaloneHost([baked, models_folder()], tmp_path_factory.mktemp("outputs"), device="cpu"))


def run_grid(place: Workspace, tmp_path: Path, name: str, **values: Any) -> dict[str, Any]:
    task = TerminalTask("grid", tmp_path)
    result = grid.run(grid.check(GridSettings(folder=name, **{**VALUES, **values}), place), place, task)
    task.close()
    return result


def baked(place: Workspace, tmp_path: Path, **values: Any) -> dict[str, Any]:
    task = TerminalTask("bake", tmp_path)
    result = bake.run(BakeSettings(**values), place, task)
    task.close()
    return result


@pytest.fixture(scope="module")
def drawn(place: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    axes = {"ratio": "0.25, 0.5", "cfg": [1.5, 4], "uncond": "zero, null"}
    return run_grid(place, tmp_path_factory.mktemp("job"), "first", axes=axes)


def header(path: str) -> dict[str, Any]:
    with CheckpointFile.open(Path(path)) as file:
        return {name: json.loads(text) for name, text in file.metadata.items() if name == bake_study.STUDY}


def pictures(place: Workspace, folder: str, name: str, picture: str, values: dict[str, Any], tmp_path: Path) -> bool:
    """Whether the file draws, by what it says of itself, the pictures of the study's cell."""
    again = StandaloneHost([Path(name).parent], tmp_path / "again", device="cpu")
    again.load(Path(name).name)
    plan = grid.prepare(
        GridSettings(**{**VALUES, **values, "models": {"a": Path(name).name}, "axes": {"seed": [1]}}), place
    )
    assert again.model is not None
    requests = [one.with_(uncond=again.model.entry.uncond) for one in plan.requests(plan.cells[0])]
    made = [np.asarray(one.image) for one in again.generate(requests)]
    with Image.open(place.host.folders.outputs / folder / picture) as sheet:
        live = np.asarray(sheet.convert("RGB"))
    return bool(np.array_equal(made[0], live[:64, :64]) and np.array_equal(made[1], live[:64, 64:128]))


def test_the_best_cell_says_what_it_rests_on(place: Workspace, drawn: dict[str, Any], tmp_path: Path) -> None:
    result = baked(place, tmp_path, study="first", output="best")
    said = header(result["output"])[bake_study.STUDY]
    assert said == result["study"]
    best = drawn["winner"]
    assert (said["cell"], said["scores"]) == (best["label"], best["scores"])
    assert (said["name"], said["kind"], said["primary"], said["best"]) == ("first", "grid", "near", True)
    assert (said["cells"], said["prompts"], said["pictures"], said["seeds"]) == (8, 2, 2, [1, 2])
    assert said["advice"] == {"sampler": "Euler", "steps": 2, "cfg": best["cfg"]}
    assert len(said["hash"]) == 16
    with CheckpointFile.open(Path(result["output"])) as file:
        found = identify(file)
    assert found.sampling.to_dict() == best["sampling"]
    assert found.uncond is not None
    assert found.uncond.to_dict() == best["uncond"]
    assert Path(result["sidecar"]) == Path(result["output"]).with_suffix(".yaml")
    assert best["label"] in bake.show(result)


def test_two_products_one_under_each_uncond(place: Workspace, drawn: dict[str, Any], tmp_path: Path) -> None:
    result = baked(place, tmp_path, study="first", under="each", output="two")
    names = [Path(one["output"]).name for one in result["products"]]
    assert names == ["two-zero.safetensors", "two-null.safetensors"]
    for made, product in zip(result["products"], drawn["products"], strict=True):
        assert header(made["output"])[bake_study.STUDY]["under"] == product["under"]
        values = {"cfg": product["cfg"]}
        assert pictures(place, "first", made["output"], product["picture"], values, tmp_path), product["under"]


def test_a_chosen_cell(place: Workspace, drawn: dict[str, Any], tmp_path: Path) -> None:
    result = baked(place, tmp_path, study="first", cell="CFG 1.5, ratio 0.25, null uncond", output="chosen")
    assert result["study"]["cell"] == "ratio 0.25, CFG 1.5, null uncond"
    assert result["recipe"]["ratio"] == 0.25


def test_a_lora_s_weight_is_baked(place: Workspace, tmp_path: Path) -> None:
    from lib_astolfo.commands import extract
    from lib_astolfo.commands.extract import ExtractSettings

    task = TerminalTask("extract", tmp_path)
    made = extract.run(ExtractSettings(base=BASE, tuned=TRAINED, rank=4, output="learnt"), place, task)
    task.close()
    name = Path(made.get("output") or made["files"][0]).name
    values = {"models": {"a": BASE}, "lora": name, "prediction": "v ztsnr", "uncond": "zero"}
    drawn = run_grid(place, tmp_path, "lora", **values, axes={"lora_weight": [0.5, 0.9]})
    result = baked(place, tmp_path, study="lora", output="with a lora")
    best = drawn["winner"]
    assert result["recipe"]["loras"][0]["weight"] in (0.5, 0.9)
    assert pictures(place, "lora", result["output"], best["picture"], {"cfg": 4.0}, tmp_path)


def test_a_search_by_its_database(place: Workspace, tmp_path: Path) -> None:
    url = f"sqlite:///{place.host.folders.outputs / 'own.db'}"
    task = TerminalTask("search", tmp_path)
    values = {**VALUES, "axes": {"uncond": ["zero"]}, "coarse": 3, "rounds": 1, "guard": False}
    found = search.run(SearchSettings(**values, study=url, name="mine", folder="by url"), place, task)
    task.close()
    result = baked(place, tmp_path, study=url, study_name="mine", output="from a database")
    assert result["study"]["cell"] == found["winner"]["label"]
    assert result["study"]["name"] == "mine"
    same = baked(place, tmp_path, study="by url", output="from a folder")
    assert same["study"]["hash"] == result["study"]["hash"]


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"study": "nowhere"}, "study"),
        ({"study": "first", "cell": "ratio 0.9"}, "cell"),
        ({"study": "first", "cell": "ratio 0.25"}, "cell"),
        ({"study": "first", "under": "comma"}, "under"),
        ({"study": "first", "cell": "ratio 0.25", "under": "each"}, "under"),
        ({"study": "first", "ratio": 0.5}, "ratio"),
        ({"cell": "ratio 0.25"}, "cell"),
        ({"study": "sqlite:////tmp/none-at-all/x.db"}, "study"),
    ],
)
def test_refused(place: Workspace, drawn: dict[str, Any], values: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        bake.check(BakeSettings(**values), place)
    assert caught.value.where == where


def test_what_is_no_weight_is_not_baked(place: Workspace, tmp_path: Path) -> None:
    run_grid(place, tmp_path, "samplers", models={"a": TRAINED}, axes={"sampler": "Euler, Heun"})
    with pytest.raises(BadInput, match="nothing to bake in"):
        bake.check(BakeSettings(study="samplers"), place)


def test_as_jobs(tmp_path: Path) -> None:
    served = Workspace(StandaloneHost([tmp_path / "baked", models_folder()], tmp_path / "outputs", device="cpu"))
    served.start()
    try:
        given = {**VALUES, "axes": {"ratio": [0.5, 1], "uncond": ["zero", None]}}
        searched = served.jobs.wait(served.submit("grid", given).id, timeout=250)
        assert searched.state == "done", searched.error
        for number, values in enumerate(({"job": searched.id}, {"study": searched.id})):
            made = served.jobs.wait(served.submit("bake", {**values, "output": f"baked {number}"}).id, timeout=250)
            assert made.state == "done", made.error
            said = header((made.result or {})["output"])[bake_study.STUDY]
            assert said["cell"] == (searched.result or {})["winner"]["label"]
            assert said["name"] == searched.id
        two = served.jobs.wait(served.submit("bake", {"study": searched.id, "under": "each"}).id, timeout=250)
        assert len((two.result or {})["products"]) == 2
        table = {"models": [TRAINED], "unconds": ["zero"], "predictions": ["auto", "eps"], "probe": False}
        shared = {name: VALUES[name] for name in ("prompts", "pictures", "steps", "scores")}
        told = served.jobs.wait(served.submit("exhaust", {**table, **shared}).id, timeout=250)
        assert told.state == "done", told.error
        assert {"exhaustion.html", "exhaustion.png", "exhaustion.csv", "exhaustion.json"} <= set(told.files)
        drawn = [event.data["picture"] for event in served.jobs.events(told.id) if "picture" in event.data]
        assert len(drawn) == 2
        assert set(drawn) <= set(told.files)
    finally:
        served.shutdown()
