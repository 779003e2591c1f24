"""``differences`` and ``arithmetic`` as commands and jobs: results, tables, pictures, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lib_astolfo import __main__ as cli
from lib_astolfo.commands import difference_figure, settings
from lib_astolfo.commands.registry import COMMANDS
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import Recipe
from tests.checkpoints.patients import FIRST, UNET, load, tensors, write

Run = Callable[..., dict[str, Any]]


class Told:
    """A job's end of the line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[str] = []

    def progress(self, done: int, total: int, text: str = "") -> None:
        assert 0 <= done <= total

    def event(self, text: str, **data: Any) -> None:
        self.events.append(text)


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path) -> Run:
    (tmp_path / "job").mkdir()

    def call(name: str, **values: Any) -> dict[str, Any]:
        command = COMMANDS[name]
        given = workspace.checked(command, settings.from_dict(command.settings, values))
        result = command.run(given, workspace, Told(tmp_path / "job"))
        assert command.attribute("show")(result)
        assert sorted(path.name for path in (tmp_path / "job").iterdir()) == sorted(result["files"].values())
        return json.loads(json.dumps(result))

    return call


def rows(path: str) -> dict[str, dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    return {next(iter(row.values())): row for row in found}


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as picture:
        picture.load()
        return picture.size


def test_two_models(run: Run) -> None:
    result = run("differences", models=["base", "trained"], top=5)
    a, b = tensors()[FIRST].double(), tensors("digits-v.safetensors")[FIRST].double()
    keys = rows(result["paths"]["keys"])
    assert float(keys[FIRST]["l2"]) == pytest.approx(float((b - a).norm()), rel=1e-9)
    assert float(keys[FIRST]["relative"]) == pytest.approx(float((b - a).norm() / a.norm()), rel=1e-9)
    assert keys[FIRST]["moved_a"] == ""
    assert len(keys) == 677 and len(result["top"]) == 5
    ranked = sorted((float(row["relative"]) for row in keys.values()), reverse=True)
    assert [one["relative"] for one in result["top"].values()] == ranked[:5]
    blocks = rows(result["paths"]["blocks"])
    assert float(blocks["blocks IN00"]["l2"]) == result["blocks"]["IN00"]["l2"]
    assert float(blocks["all"]["elements"]) == result["total"]["elements"]
    with open(result["paths"]["lists"], encoding="utf-8") as file:
        lists = json.load(file)
    assert set(lists) == {"da", "db", "err", "kv"} and len(lists["kv"]) == 677
    with open(result["paths"]["figures"], encoding="utf-8") as file:
        assert len(json.load(file)["keys"]) == 677
    assert min(size(result["paths"]["picture"])) > 400


def test_a_base_adds_the_ways(run: Run, models: Path) -> None:
    own, trained = tensors(), tensors("digits-v.safetensors")
    half = {n: (own[n].float() + trained[n].float()).div(2).half() for n in own if n.startswith(UNET)}
    write(models / "half.safetensors", half)
    plain = run("differences", models=["base", "trained"], top=0)
    height = size(plain["paths"]["picture"])[1]
    result = run("differences", models=["half", "trained"], base="base", top=0)
    assert result["parts"]["unet"]["cosine_moved"] == pytest.approx(1.0, abs=1e-3)
    assert result["parts"]["unet"]["moved_b"] == pytest.approx(plain["parts"]["unet"]["l2"], rel=1e-9)
    assert result["blocks"]["VAE"]["cosine_moved"] is None
    assert size(result["paths"]["picture"])[1] > height  # the cosines have bars of their own


def test_several_models_beside_their_base(run: Run, models: Path) -> None:
    other = {FIRST: -tensors()[FIRST]}
    write(models / "other.safetensors", other)
    write(models / "copy.safetensors", model="digits-v.safetensors")
    result = run("differences", models=["trained", "other", "copy"], base="base")
    assert result["cosines"][0][2] == pytest.approx(1.0) and abs(result["cosines"][0][1]) < 0.9
    assert result["distances"][0][2] == pytest.approx(0.0, abs=1e-3)
    assert result["norms"][1] == pytest.approx(2 * float(tensors()[FIRST].double().norm()), rel=1e-9)
    matrix = rows(result["paths"]["matrix"])
    assert float(matrix["copy"]["trained"]) == result["cosines"][2][0]
    assert min(size(result["paths"]["picture"])) > 400


def test_what_is_carried_and_the_merge_of_it(run: Run, models: Path) -> None:
    given = {"models": ["base", "trained", "base"], "factor": 0.5, "mask": ["IN00", "OUT08"]}
    result = run("arithmetic", **given, output="carried", dtype="fp32", base="trained")
    recipe = Recipe.load(result["paths"]["recipe"])
    assert recipe.to_dict() == result["recipe"]
    assert recipe.blocks == {"IN00": 0.5, "OUT08": 0.5}
    own, trained, new = tensors(), tensors("digits-v.safetensors"), load(models / "carried.safetensors")
    assert torch.equal(new[FIRST], own[FIRST].float() + (trained[FIRST].float() - own[FIRST].float()) * 0.5)
    middle = UNET + "middle_block.1.proj_in.weight"
    assert torch.equal(new[middle], own[middle].float())
    moved = [name for name in own if not torch.equal(new[name].float(), own[name].float())]
    change = sum(float((new[name].double() - own[name].double()).square().sum()) for name in moved) ** 0.5
    assert result["total"]["change"] == pytest.approx(change, rel=1e-6)
    assert result["blocks"]["IN00"]["cosine"] == pytest.approx(-1.0)  # B - C is the way from A to B
    assert result["blocks"]["M00"]["change"] == 0.0 < result["blocks"]["M00"]["difference"]
    assert float(rows(result["paths"]["blocks"])["OUT08"]["share"]) == result["blocks"]["OUT08"]["share"]
    assert result["merged"]["name"] == "carried.safetensors"
    assert run("arithmetic", **given)["merged"] is None


@pytest.mark.parametrize(
    ("name", "values", "where"),
    [
        ("differences", {"models": ["base"]}, "models"),
        ("differences", {"models": ["base", "nobody"]}, "models"),
        ("differences", {"models": ["base", "trained", "base"]}, "base"),
        ("differences", {"models": ["base", "base", "trained"], "base": "base"}, "models"),
        ("differences", {"models": ["base", "trained"], "base": "nobody"}, "base"),
        ("differences", {"models": ["base", "trained"], "threads": 0}, "threads"),
        ("differences", {"models": ["base", "trained"], "top": 1000}, "top"),
        ("arithmetic", {"models": ["base", "trained"]}, "models"),
        ("arithmetic", {"models": ["base", "trained", "base"], "mask": ["OUT99"]}, "blocks.OUT99"),
        ("arithmetic", {"models": ["base", "trained", "base"], "overwrite": True}, "overwrite"),
        ("arithmetic", {"models": ["base", "trained", "base"], "output": "trained"}, "output"),
        ("arithmetic", {"models": ["base", "trained", "base"], "dtype": "int8"}, "dtype"),
    ],
)
def test_what_is_refused(run: Run, models: Path, name: str, values: dict[str, Any], where: str) -> None:
    before = sorted(models.iterdir())
    with pytest.raises(BadInput) as error:
        run(name, **values)
    assert error.value.where == where
    assert sorted(models.iterdir()) == before


def test_a_job_leaves_its_files_in_its_folder(workspace: Workspace) -> None:
    workspace.start()
    job = workspace.submit("differences", {"models": ["base", "trained"]})
    workspace.jobs.wait(job.id, 60)
    done = workspace.jobs.get(job.id)
    assert done.state == "done"
    assert Path(done.result["paths"]["picture"]).is_file()
    with pytest.raises(BadInput, match="models"):
        workspace.submit("arithmetic", {"models": []})


def test_on_the_command_line(models: Path, tmp_path: Path, capsys: Any) -> None:
    folders = ["--models", str(models), "--outputs", str(tmp_path / "o")]
    assert cli.main(["differences", "base", "trained", *folders]) == 0
    out = capsys.readouterr().out
    assert "base and trained are apart: unet 18 %" in out and "cross attention" in out
    assert cli.main(["differences", "base", "trained", "base=base", "top=3", "--json", *folders]) == 0
    assert len(json.loads(capsys.readouterr().out)["top"]) == 3
    assert cli.main(["arithmetic", "base", "trained", "base", "factor=0.3", "mask=IN03-OUT05:1", *folders]) == 0
    assert "changes" in capsys.readouterr().out
    assert cli.main(["differences", "base", *folders]) == 2


def test_names_are_shortened_for_pictures_and_keep_apart() -> None:
    names = list(tensors())
    assert len({difference_figure.short(name) for name in names}) == len(names)
    assert difference_figure.short(UNET + "out.2.bias") == "out.2.bias"
