"""Scores with options in real grids on the digits models: a reference, folders, a function; and who may name them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_astolfo.commands import grid, search
from lib_astolfo.commands.grid import GridSettings
from lib_astolfo.commands.search import SearchSettings
from lib_astolfo.commands.settings import from_dict
from lib_astolfo.commands.study_plan import prepare
from lib_astolfo.commands.study_scores import check_own
from lib_astolfo.commands.terminal import TerminalTask
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import BASE, TRAINED, digits, models_folder
from lib_astolfo.demo.scores import real_pictures
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.search.kept import read as read_kept
from lib_astolfo.search.reference import FOLDER, reference_of

VALUES: dict[str, Any] = {
    "models": {"a": BASE, "b": TRAINED},
    "axes": {"ratio": [0, 0.5, 1]},
    "prompts": ["red seven", "blue two"],
    "pictures": 4,
    "steps": 3,
    "folder": "study",
}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def workspace(outputs: Path) -> Iterator[Workspace]:
    """As the command line has it: any file may be named."""
    made = Workspace(StandaloneHost([models_folder()], outputs, device="cpu"), free_paths=True)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits in folders that are called as the prompts ask."""
    made = tmp_path_factory.mktemp("data") / "digits"
    pictures, prompts = real_pictures(300)
    for at, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        name = digits.DIGITS[digits.parse(prompt).digit]
        (made / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(made / name / f"{at}.png")
    return made


def run(workspace: Workspace, tmp_path: Path, **more: Any) -> dict[str, Any]:
    settings = from_dict(GridSettings, {**VALUES, **more})
    return grid.run(settings, workspace, TerminalTask("grid", tmp_path / "jobs"))


def figures(result: dict[str, Any], name: str) -> list[float]:
    return [cell["scores"][name]["mean"] for cell in result["cells"]]


def test_the_composition_is_compared_with_the_reference_cell(
    workspace: Workspace, outputs: Path, tmp_path: Path
) -> None:
    own = {"prediction": "v"}
    result = run(workspace, tmp_path, scores=["near", "composition"], reference={"ratio": 0, **own}, **own)
    agreed = figures(result, "composition")
    assert agreed[0] == pytest.approx(1.0, abs=0.005), "ratio 0 is the reference itself"
    assert agreed[0] > agreed[1] > agreed[2] > 0
    (kept,) = (outputs / "study" / FOLDER).glob("*.png")
    reference = Image.open(kept)
    assert "Steps: 3" in reference.info["parameters"] and reference.size == (128, 128)
    assert result["primary"] == "near"


def test_by_itself_the_base_is_read_as_it_says(workspace: Workspace) -> None:
    settings = from_dict(GridSettings, {**VALUES, "scores": ["near", "composition"]})
    plan = prepare(settings, workspace)
    found = reference_of(plan, plan.cells[2])
    assert found.recipe is None and found.model == BASE
    assert found.requests[0].sampling is not None and found.requests[0].sampling.prediction == "eps"
    merged = plan.requests(plan.cells[2])
    assert merged[0].sampling is not None and merged[0].sampling.prediction == "v"
    assert [(r.prompt, r.seed) for r in found.requests] == [(r.prompt, r.seed) for r in merged]
    assert reference_of(plan, plan.cells[0]).key == found.key, "one reference for all ratios"


def test_prompts_and_seeds_of_axes_have_references_of_their_own(workspace: Workspace) -> None:
    axes = {"ratio": [0, 1], "seed": [1, 50], "prompt": ["one", "two"], "cfg": [2, 4]}
    settings = from_dict(GridSettings, {**VALUES, "axes": axes, "scores": ["composition", "near"]})
    plan = prepare(settings, workspace)
    keys = {reference_of(plan, cell).key for cell in plan.cells}
    assert len(plan.cells) == 16 and len(keys) == 4
    different = replace(plan, settings=replace(settings, reference={"cfg": 8}))
    assert reference_of(different, plan.cells[0]).requests[0].cfg == 8
    for reference, match in (({"colour": 3}, "'colour'"), ({"seed": 3}, "'seed'"), ({"ratio": "x"}, "reference.ratio")):
        with pytest.raises(BadInput, match=match):
            prepare(replace(settings, reference=reference), workspace)


def test_a_reference_is_drawn_once_and_found_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    generate = workspace.host.generate
    monkeypatch.setattr(
        workspace.host, "generate", lambda requests, **more: drawn.append(len(requests)) or generate(requests, **more)
    )
    first = run(workspace, tmp_path, scores=["near", "composition"])
    assert sum(drawn) == 4 * 4, "three cells and the reference"
    again = run(workspace, tmp_path, scores=["near", "composition"], axes={"ratio": [0, 0.25, 0.5, 1]})
    assert sum(drawn) == 5 * 4, "the new cell alone"
    assert figures(again, "composition")[2] == figures(first, "composition")[1]
    run(workspace, tmp_path, scores=["near", "composition"], reference={"ratio": 0})
    assert sum(drawn) == 9 * 4, "figures against another reference are not comparable"


def test_folders_files_and_functions_score_a_grid(
    workspace: Workspace, examples: Path, outputs: Path, tmp_path: Path
) -> None:
    own = tmp_path / "mine.py"
    own.write_text("def red(pictures, prompts):\n    return pictures[..., 0].mean(axis=(1, 2))\n")
    wanted = [
        {"folder near": {"score": "near", "folder": str(examples)}},
        {"accuracy": str(examples)},
        "near",
        "patches",
    ]
    result = run(workspace, tmp_path, scores=[*wanted, f"{own}:red"])
    assert set(result["cells"][0]["scores"]) == {"folder near", "accuracy", "near", "patches", "red"}
    assert figures(result, "folder near")[1] < figures(result, "folder near")[0], "as the laboratory's own near"
    assert figures(result, "near")[1] < figures(result, "near")[0]
    assert figures(result, "red")[0] > 0 and max(figures(result, "patches")) < 0.1
    assert {tuple(one["scores"]) for one in result["agreements"]} >= {("folder near", "near")}
    kept = read_kept(outputs / "study").result()
    assert kept.plan.scores["patches"].alarm and kept.best() is not None
    json.dumps(result, allow_nan=False)


def test_a_score_whose_files_changed_is_measured_anew(workspace: Workspace, tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    for factor in (1, 2):
        own.write_text(f"def red(pictures, prompts):\n    return {factor} * pictures[..., 0].mean(axis=(1, 2))\n")
        last = figures(run(workspace, tmp_path, scores=[f"{own}:red"]), "red")
        if factor == 1:
            once = last
    np.testing.assert_allclose(last, 2 * np.array(once), rtol=1e-6)


def test_a_server_reads_only_where_data_may_lie_and_runs_no_code(
    outputs: Path, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Workspace(StandaloneHost([models_folder()], outputs, device="cpu"))
    monkeypatch.delenv("ASTOLFO_DATA", raising=False)

    def settings(*scores: Any) -> GridSettings:
        return from_dict(GridSettings, {**VALUES, "scores": list(scores)})

    with pytest.raises(BadInput, match=r"scores\.near\.folder.*ASTOLFO_DATA"):
        grid.check(settings({"near": str(examples)}), served)
    with pytest.raises(BadInput, match="ASTOLFO_DATA"):
        grid.check(settings({"near": "../data/digits"}), served)
    monkeypatch.setenv("ASTOLFO_DATA", str(examples.parent))
    assert grid.check(settings({"near": str(examples)}), served).scores
    assert grid.check(settings({"near": "digits"}), served).scores, "a name in the folder"
    (examples.parent / "mine.py").write_text("raise SystemExit(3)\n")
    for named in (f"{examples.parent / 'mine.py'}:red", {"x": {"score": "own", "function": "mine.py:red"}}):
        with pytest.raises(BadInput, match="command line of its owner"):
            grid.check(settings(named), served)
    served.shutdown()


def test_prompts_that_name_no_class_are_refused_before_the_first_picture(workspace: Workspace, examples: Path) -> None:
    values = {**VALUES, "prompts": ["a house"], "scores": [{"accuracy": str(examples)}, {"near": str(examples)}]}
    with pytest.raises(BadInput, match=r"prompts\[0\].*a house"):
        grid.check(from_dict(GridSettings, values), workspace)


def test_a_search_refines_by_a_folder_and_compares_with_the_base(
    workspace: Workspace, examples: Path, tmp_path: Path
) -> None:
    values = {**VALUES, "axes": {}, "coarse": 3, "rounds": 1, "guard": False}
    values |= {"scores": [{"near": str(examples)}, "composition", "blur"]}
    result = search.run(from_dict(SearchSettings, values), workspace, TerminalTask("search", tmp_path / "jobs"))
    assert result["tried"] == 3 and result["primary"] == "near"
    for one, other in itertools.pairwise(figures(result, "composition")):
        assert one != other
    assert len(list((tmp_path / "outputs" / "study" / FOLDER).glob("*.png"))) == 1


def test_a_worker_runs_no_code_that_a_database_names() -> None:
    begun = ["near", "their.py:red"]
    check_own(begun, ["their.py:red"])
    check_own(["near"], [])
    for given in ([], ["near"], ["mine.py:red"], None):
        with pytest.raises(BadInput, match="because a database names it"):
            check_own(begun, given)
