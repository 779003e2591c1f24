"""The commands ``grid`` and ``demo``, from settings to files, as jobs and in the foreground."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.commands import demo, grid
from lib_astolfo.commands.demo import DemoSettings
from lib_astolfo.commands.grid import GridSettings
from lib_astolfo.commands.settings import from_dict, read
from lib_astolfo.commands.terminal import TerminalTask
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import BASE, TRAINED, models_folder
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.merging.recipe import Recipe

VALUES: dict[str, Any] = {
    "models": {"a": BASE, "b": TRAINED},
    "axes": {"ratio": [0, 0.5, 1], "cfg": [1.5, 4]},
    "prompts": ["red seven", "blue two"],
    "pictures": 4,
    "steps": 2,
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(StandaloneHost([models_folder()], tmp_path / "outputs", device="cpu"))
    workspace.start()
    yield workspace
    workspace.shutdown()


def test_a_grid_as_a_job_leaves_pictures_curves_and_report(served: Workspace) -> None:
    job = served.jobs.wait(served.submit("grid", {**VALUES, "check": 4}).id, timeout=250)
    assert job.state == "done", job.error
    assert {"sheet.png", "curves.png", "report.html", "winner-recipe.yaml", "cells.jsonl"} <= set(job.files)
    pictures = [name for name in job.files if name.startswith("cells/")]
    assert len(pictures) == 6
    result = job.result or {}
    json.dumps(result, allow_nan=False)
    assert result["winner"]["recipe"]["models"] == VALUES["models"]
    assert result["primary"] == "near"
    assert result["verdict"]["sentences"][0]["kind"] == "check"
    shown = [event.data["picture"] for event in served.jobs.events(job.id) if "picture" in event.data]
    assert sorted(shown) == pictures, "each finished cell is announced with its picture"
    assert "Astolfo grid" in Image.open(served.jobs.file(job.id, "sheet.png")).info["parameters"]


def test_a_stopped_grid_keeps_its_cells_and_is_taken_up_again(served: Workspace) -> None:
    values = {**VALUES, "folder": "my search", "pictures": 8}
    job = served.submit("grid", values)
    deadline = time.monotonic() + 200
    while not any("picture" in event.data for event in served.jobs.events(job.id)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    served.jobs.pause(job.id)
    served.jobs.stop(job.id)
    stopped = served.jobs.wait(job.id, timeout=200)
    assert stopped.state == "stopped"
    made = len((stopped.result or {})["cells"])
    assert 1 <= made < 6
    assert "report.html" in stopped.files
    again = served.jobs.wait(served.submit("grid", values).id, timeout=250)
    assert len((again.result or {})["cells"]) == 6
    kept = served.host.folders.outputs / "my search" / "cells.jsonl"
    lines = [line for line in kept.read_text("utf-8").splitlines() if '"key"' in line]
    assert len(lines) == 6, "what was made is not drawn again"
    told = [event.data["picture"] for event in served.jobs.events(again.id) if "picture" in event.data]
    assert len(told) == 6 and set(told) <= set(again.files), "what was made before is shown too"
    assert "sheet.png" in again.files, "shown among the job's files too"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"axes": {"ratio": []}}, "axes.ratio"),
        ({"axes": {"ratio": ["much"]}}, "axes.ratio"),
        ({"axes": {"speed": [1]}}, "axes.speed"),
        ({"scores": ["beauty"]}, "scores"),
        ({"prompts": []}, "prompts"),
        ({"folder": "../elsewhere"}, "folder"),
        ({"folder": "/tmp/elsewhere"}, "folder"),
        ({"folder": "."}, "folder"),
        ({"folder": "jobs/some"}, "folder"),
        ({"folder": "NUL"}, "folder"),
        ({"check": -1}, "check"),
        ({"models": {"a": BASE, "b": "digits-w.safetensors"}}, "models.b: found 'digits-w"),
        ({"models": {"a": BASE, "b": ""}}, "models.b"),
        ({"models": {}}, "models.a"),
        ({"prompts": ["red seven", "a knight"]}, "prompts[1]"),
    ],
)
def test_bad_settings_are_refused_when_they_are_given(served: Workspace, changes: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        served.submit("grid", {**VALUES, **changes})
    assert where in str(caught.value)
    assert served.jobs.list() == []


def test_a_grid_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("models: {a: x, b: y}\naxes:\n  ratio: 0-1 [3]\n  uncond: [zero, null]\nprompts: [p]\n")
    settings = read(GridSettings, path, ["axes.cfg=[1.5,4]", "pictures=8"])
    assert settings.pictures == 8
    assert set(settings.axes) == {"ratio", "uncond", "cfg"}


def test_nan_in_settings_is_refused() -> None:
    with pytest.raises(BadInput):
        from_dict(GridSettings, {**VALUES, "axes": {"ratio": [0.5, float("nan")]}})


def test_demo_in_the_foreground_bakes_the_winner(workspace: Workspace, tmp_path: Path) -> None:
    settings = DemoSettings(ratios=[0.0, 0.5, 1.0], cfg=[1.5, 4.0], pictures=4, steps=3, minutes=0, check=4)
    task = TerminalTask("demo", tmp_path)
    result = demo.run(settings, workspace, task)
    task.close()
    winner, baked = result["winner"], result["baked"]
    target = Path(baked["output"])
    assert target.parent == task.folder
    with CheckpointFile.open(target) as file:
        assert Recipe.from_yaml(file.metadata["astolfo.recipe"]) == Recipe.from_dict(winner["recipe"])
        found = identify(file)
    assert found.sampling.to_dict() == winner["sampling"]
    assert found.uncond is not None
    assert found.uncond.to_dict() == winner["uncond"]
    assert Path(baked["sidecar"]) == target.with_suffix(".yaml")
    words = demo.show(result)
    assert words.startswith("near ± standard error")
    assert "report.html" in words
    assert "seconds in all" in words


def test_a_demo_in_a_folder_of_its_own_shows_its_files_in_the_job(served: Workspace) -> None:
    settings = {"ratios": [0.4], "cfg": [4.0], "uncond": ["null"], "pictures": 2, "steps": 2, "minutes": 0, "check": 0}
    job = served.jobs.wait(served.submit("demo", {**settings, "folder": "kept"}).id, timeout=250)
    assert job.state == "done", job.error
    kept = served.host.folders.outputs / "kept"
    assert (job.result or {})["baked"]["output"] == str(kept / demo.WINNER)
    assert {demo.WINNER, "winner.yaml", "report.html"} <= set(job.files)
    assert served.jobs.file(job.id, demo.WINNER).read_bytes() == (kept / demo.WINNER).read_bytes()


def test_the_baked_winner_draws_what_the_live_merge_drew(workspace: Workspace, tmp_path: Path) -> None:
    import numpy as np

    settings = DemoSettings(ratios=[0.4], cfg=[4.0], uncond=["null"], pictures=2, steps=3, minutes=0, check=0)
    task = TerminalTask("demo", tmp_path)
    result = demo.run(settings, workspace, task)
    task.close()
    plan = grid.prepare(demo.study_settings(settings), workspace)
    again = StandaloneHost([task.folder], tmp_path / "again", device="cpu")
    again.load(demo.WINNER)
    pictures = again.generate(plan.requests(plan.cells[0]))
    with Image.open(task.folder / result["cells"][0]["picture"]) as sheet:
        live = np.asarray(sheet.convert("RGB"))
    assert np.array_equal(np.asarray(pictures[0].image), live[:64, :64])
    assert np.array_equal(np.asarray(pictures[1].image), live[:64, 64:128])


def test_demo_adds_ratios_beside_the_best_while_there_is_time(workspace: Workspace, tmp_path: Path) -> None:
    settings = DemoSettings(ratios=[0.0, 0.5, 1.0], cfg=[4.0], uncond=["null"], pictures=2, steps=2, check=0)
    task = TerminalTask("demo", tmp_path)
    result = demo.run(settings, workspace, task)
    task.close()
    ratios = {cell["values"]["ratio"] for cell in result["cells"]}
    assert {0.0, 0.5, 1.0} < ratios
    assert ratios <= {0.0, 0.25, 0.5, 0.75, 1.0}


def test_demo_prompts_are_even_and_in_all_forms() -> None:
    from collections import Counter

    from lib_astolfo.demo import digits

    first = [digits.parse(prompt) for prompt in demo.prompts(0)[:50]]
    assert set(Counter(one.digit for one in first).values()) == {5}
    assert len(demo.prompts(0)) == 160
    assert any("," in prompt for prompt in demo.prompts(0))
    assert any(prompt.startswith("a ") for prompt in demo.prompts(0))


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"minutes": -1}, "minutes"), ({"ratios": []}, "axes.ratio"), ({"base": "gone"}, "gone"), ({"steps": 0}, "steps")],
)
def test_bad_demo_settings(workspace: Workspace, changes: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput, match=where):
        demo.check(DemoSettings(**changes), workspace)


def test_two_grids_wait_for_each_other(served: Workspace) -> None:
    jobs = [served.submit("grid", {**VALUES, "axes": {"ratio": [ratio, 1]}}) for ratio in (0.1, 0.2)]
    ended = [served.jobs.wait(job.id, timeout=250) for job in jobs]
    assert [job.state for job in ended] == ["done", "done"]
    assert threading.active_count() < 50


def test_a_model_replaced_while_the_grid_runs_ends_it(tmp_path: Path) -> None:
    import shutil

    models = tmp_path / "models"
    shutil.copytree(models_folder(), models)
    workspace = Workspace(StandaloneHost([models], tmp_path / "outputs", device="cpu"))
    plan = grid.prepare(GridSettings(**VALUES), workspace)
    task = TerminalTask("grid", tmp_path)
    on_event = task.event

    def replace_after_the_first_cell(text: str, **data: Any) -> None:
        on_event(text, **data)
        shutil.copyfile(models / BASE, tmp_path / "new")
        (tmp_path / "new").replace(models / TRAINED)

    task.event = replace_after_the_first_cell  # type: ignore[method-assign]
    with pytest.raises(Failed, match=r"digits-v\.safetensors was replaced"):
        grid.draw(plan, workspace, task, tmp_path / "study")
    task.close()
    lines = (tmp_path / "study" / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2, "the cells of the ratio under way are kept"
