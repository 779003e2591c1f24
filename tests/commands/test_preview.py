"""A merge that is only previewed, what it says before it runs, and every kind of ratio as commands take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import lib_astolfo.__main__ as cli
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.commands import live, merge, settings, tables
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import Recipe

MODELS = {"a": "base", "b": "trained"}
ATTENTION = ".transformer_blocks.0.attn1.to_q.weight"


class Task:
    """A job's side of a command; keeps its events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def progress(self, done: int, total: int, text: str = "") -> None:
        assert done <= total

    def event(self, text: str, **data: Any) -> None:
        self.events.append((text, data))


def run(workspace: Workspace, task: Task | None = None, **values: Any) -> dict[str, Any]:
    given = settings.from_dict(merge.MergeSettings, {"models": MODELS, "ratio": 0.75, "output": "out", **values})
    return merge.run(given, workspace, task or Task())  # type: ignore[arg-type]


def test_a_preview_writes_nothing_and_says_all(workspace: Workspace, models: Path) -> None:
    before = sorted(models.iterdir())
    result = run(workspace, preview=True, share=0.2, output="base")
    assert sorted(models.iterdir()) == before
    assert [one["slot"] for one in result["preflight"]["models"]] == ["a", "b"]
    assert result["preflight"]["seconds"] > 0
    assert result["preflight"]["disk"] > 0
    assert set(result["preview"]["blocks"]) >= {"BASE", "IN00", "M00"}
    assert result["preview"]["blocks"]["M00"]["relative"] > 0
    assert result["recipe"]["ratio"] == 0.75
    json.dumps(result)
    assert merge.show(result) == result["summary"]
    for words in ("a    base", "needs ", "keys merged", "change against A", "M00"):
        assert words in result["summary"]


def test_hashes_that_are_known_are_shown(workspace: Workspace) -> None:
    result = run(workspace, preview=True)
    assert [one["hash"] for one in result["preflight"]["models"]] == [None, None]
    with CheckpointFile.open(workspace.resolve("trained")) as file:
        digest = workspace.digests(file)
    result = run(workspace, preview=True)
    assert [one["hash"] for one in result["preflight"]["models"]] == [None, digest]
    with pytest.raises(BadInput, match="sha256"):
        run(workspace, preview=True, hashes={"trained": "0" * 64})


def test_a_merge_tells_first_what_it_needs(workspace: Workspace) -> None:
    task = Task()
    run(workspace, task)
    text, data = task.events[0]
    assert "GB of memory" in text
    assert "\n" not in text
    assert data["preflight"]["merged"] > 0
    assert data["preflight"]["seconds"] is None
    assert "report" in task.events[-1][1]


def test_preview_on_the_command_line(models: Path, tmp_path: Path, capsys: Any) -> None:
    folders = ["--models", str(models), "--outputs", str(tmp_path / "o")]
    given = ["merge", "models.a=base", "models.b=trained", "ratio=0.5", "preview=true"]
    assert cli.main([*given, *folders]) == 0
    assert "change against A" in capsys.readouterr().out
    assert cli.main([*given, "share=2", *folders]) == 2
    assert "share" in capsys.readouterr().err
    assert cli.main([*given, "--json", *folders]) == 0
    assert json.loads(capsys.readouterr().out)["preview"]["share"] > 0
    assert not list(models.glob("*0.5*"))


def test_every_kind_of_ratio_as_settings(workspace: Workspace, models: Path) -> None:
    values: dict[str, Any] = {
        "blocks": "IN03-OUT05:0.25,M00:1",
        "elements": "M00:attn1:0.5\n:to_k:0",
        "patterns": {r"attn1\.to_q\.weight$": 0.125},
        "adjust": "1,2,3",
        "dtype": "fp32",
    }
    result = run(workspace, ratio="0.75", output="", **values)
    assert result["name"].endswith("trained-0.75-blocks-elements-patterns-adjust.safetensors")
    with CheckpointFile.open(Path(result["output"])) as file:
        recipe = Recipe.from_yaml(file.metadata["astolfo.recipe"])
    assert recipe.elements == ("M00:attn1:0.5", ":to_k:0")
    assert recipe.adjust[:3] == (1, 2, 3)
    a, b, out = (
        load_file(path) for path in (workspace.resolve("base"), workspace.resolve("trained"), result["output"])
    )
    key = next(name for name in out if name.startswith("model.diffusion_model.middle_block") and ATTENTION in name)
    wanted = a[key].float().lerp(b[key].float(), 0.125)
    assert out[key].equal(wanted)


def test_live_takes_them_too(workspace: Workspace) -> None:
    values = {"method": "weighted_sum", "models": MODELS, "ratio": 0.5, "elements": "M00::1"}
    values |= {"patterns": {"to_k": 0.25}, "adjust": [1, 2, 3]}
    state = live.put(workspace, values)
    assert state["recipe"]["patterns"] == {"to_k": 0.25}
    assert state["recipe"]["adjust"] == [1, 2, 3, 0, 0, 0, 0, 0]
    assert "adjust=1/2/3" in state["description"]
    assert "\n" not in state["description"]
    with pytest.raises(BadInput) as error:
        live.put(workspace, {**values, "elements": "M00:attn"})
    assert error.value.where == "elements"


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"ratio": "x"}, "ratio"),
        ({"ratio": {"b": 1}}, "ratio"),
        ({"patterns": {"(": 1}}, "patterns.("),
        ({"patterns": {"x": "y"}}, "patterns.x"),
        ({"adjust": {"BRIGHT": 1}}, "adjust.BRIGHT"),
        ({"blocks": "IN03-OUT12:1"}, "blocks.IN03-OUT12"),
        ({"share": 0}, "share"),
    ],
)
def test_what_is_wrong_is_named(workspace: Workspace, values: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as error:
        run(workspace, **values)
    assert error.value.where == where


def test_the_table_of_methods_says_what_a_ratio_is() -> None:
    found = {method["name"]: method for method in tables.methods()}
    assert found["n_average"]["weights"] and not found["n_average"]["ratio"]
    assert found["weighted_sum"]["ratio"] and not found["weighted_sum"]["weights"]
    assert found["model"]["slots"] == ["a"]
    assert {method["unit"] for method in found.values()} <= {"element", "row", "tensor"}
    json.dumps(list(found.values()))
