"""merge, bake and sidecar on real files: names, bytes, what is left behind."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.commands import bake, live, merge, settings, sidecar
from lib_astolfo.commands.outputs import checkpoint_target
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.merging.recipe import Recipe
from tests.commands import pair

RECIPE: dict[str, Any] = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.75}


def finished(workspace: Workspace, kind: str, values: dict[str, Any]) -> dict[str, Any]:
    job = workspace.jobs.wait(workspace.submit(kind, values).id, 60)
    assert job.state == "done", job.error
    assert job.result is not None
    return job.result


def test_a_merge_lies_in_the_models_folder_and_says_what_it_is(workspace: Workspace, models: Path) -> None:
    result = finished(workspace, "merge", {**RECIPE, "sidecar": True})
    path = models / "base-trained-0.75.safetensors"
    assert result["output"] == str(path)
    assert result["name"] in {entry.name for entry in workspace.host.checkpoints() if entry.family == "sdxl"}
    assert result["report"]["merged"] > 500
    assert result["report"]["copied"]["VAE is kept"] > 100
    events = workspace.jobs.events(workspace.jobs.list()[0].id)
    assert len(next(event.data["report"]["copied"] for event in events if "report" in event.data)) > 100
    with CheckpointFile.open(path) as file, CheckpointFile.open(models / "base.safetensors") as a:
        assert Recipe.from_yaml(file.metadata["astolfo.recipe"]).ratio == 0.75
        assert identify(file).sampling.prediction == "v"
        with CheckpointFile.open(models / "trained.safetensors") as b:
            key = next(name for name in a.tensors if name.endswith("input_blocks.1.0.in_layers.2.weight"))
            expected = a.tensor(key).lerp(b.tensor(key), 0.75)
            assert torch.equal(file.tensor(key), expected)
    assert path.with_suffix(".yaml").exists()


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({}, "models.a"),
        ({**RECIPE, "ratio": None}, "ratio"),
        ({**RECIPE, "method": "weighted"}, "method"),
        ({**RECIPE, "models": {"a": "base", "b": "trainde"}}, "models.b"),
        ({**RECIPE, "models": {"a": "base", "b": "../trained"}}, "models.b"),
        ({**RECIPE, "models": {"a": "base", "b": 3}}, "models.b"),
        ({**RECIPE, "blocks": {"IN99": 1}}, "blocks.IN99"),
        ({**RECIPE, "threads": 0}, "threads"),
        ({**RECIPE, "output": "base"}, "output"),
        ({**RECIPE, "output": "merged.ckpt"}, "output"),
    ],
)
def test_bad_merges_are_refused_before_they_are_queued(workspace: Workspace, values: Any, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        workspace.submit("merge", values)
    assert caught.value.where == where
    assert workspace.jobs.list() == []


@pytest.mark.parametrize(
    "name",
    ["../out", "/tmp/out", "sub/out", "a/../../out", "C:\\out", "\\\\host\\out", "NUL", "com1.x", "a\0b",
     "x" * 300, "link/out", ".hidden", "~/out", " ", "..", ".", "a//b", "out?"],
)  # fmt: skip
def test_outputs_do_not_leave_the_models_folder(workspace: Workspace, models: Path, name: str) -> None:
    (models / "link").symlink_to(models.parent)
    before = sorted(path for path in models.parent.rglob("*"))
    with pytest.raises(BadInput) as caught:
        checkpoint_target(workspace, name)
    assert caught.value.where == "output"
    assert sorted(path for path in models.parent.rglob("*")) == before


def test_good_output_names(workspace: Workspace, models: Path, tmp_path: Path) -> None:
    (models / "mine").mkdir()
    for name in ("v1.5 (final)", "赤い七", "Ψ", "mine/x.safetensors"):
        stem = name.removesuffix(".safetensors")
        assert checkpoint_target(workspace, name) == models / f"{stem}.safetensors"
    workspace.free_paths = True
    assert checkpoint_target(workspace, str(tmp_path / "free")) == tmp_path / "free.safetensors"
    workspace.free_paths = False
    with pytest.raises(BadInput, match="a file of that name"):
        checkpoint_target(workspace, "base")
    assert checkpoint_target(workspace, " out ") == models / "out.safetensors"
    assert checkpoint_target(workspace, "base", overwrite=True) == models / "base.safetensors"


def test_a_name_that_is_made_fits_and_tells_ratios_apart(workspace: Workspace, models: Path) -> None:
    long = {"a": "a" + "星" * 70, "b": "b" + "星" * 70}
    for name in long.values():
        shutil.copy(models / "base.safetensors", models / f"{name}.safetensors")
    made = [
        merge.check(settings.from_dict(merge.MergeSettings, {"models": long, "ratio": ratio}), workspace).output
        for ratio in (0.25, 0.5)
    ]
    assert [name[:2] + name[-4:] for name in made] == ["a星0.25", "a星-0.5"]


def test_paths_are_free_on_the_command_line_only(workspace: Workspace, pair_folder: Path) -> None:
    elsewhere = str(pair_folder / "base.safetensors")
    with pytest.raises(BadInput):
        workspace.resolve(elsewhere)
    workspace.free_paths = True
    assert workspace.resolve(elsewhere) == Path(elsewhere)


def test_a_bake_has_the_bits_of_the_live_merge(workspace: Workspace, tmp_path: Path) -> None:
    live.put(workspace, RECIPE)
    assert workspace.host.model is not None
    held = {name: tensor.clone() for name, tensor in workspace.host.model.weights().items()}
    result = finished(workspace, "bake", {"output": "winner", "uncond": None, "sampling": "v"})
    assert live.state(workspace)["recipe"]["ratio"] == 0.75
    fresh = StandaloneHost(workspace.host.folders.models, tmp_path / "other", device="cpu")
    loaded = fresh.load("winner")
    assert loaded.entry.sampling.describe() == "v"
    assert loaded.entry.uncond is not None
    assert loaded.entry.uncond.mode == "null"
    weights = loaded.weights()
    assert weights.keys() == held.keys()
    assert all(torch.equal(weights[name], held[name]) for name in held)
    assert Path(result["sidecar"]).read_text("utf-8").count("null") == 1
    fresh.unload()


def test_what_to_bake_is_settled_when_it_is_asked_for(workspace: Workspace) -> None:
    nothing = settings.from_dict(bake.BakeSettings, {})
    with pytest.raises(BadInput, match="no merge is live"):
        bake.check(nothing, workspace)
    live.put(workspace, RECIPE)
    settled = bake.check(nothing, workspace)
    live.delete(workspace)
    assert (settled.ratio, settled.output) == (0.75, "base-trained-0.75")
    assert bake.check(settled, workspace) == settled
    nested = settings.from_dict(bake.BakeSettings, {"recipe": {**RECIPE, "output": "named"}})
    assert bake.check(nested, workspace).output == "named"
    for wrong, where in (
        ({"recipe": RECIPE, "job": "x"}, "job"),
        ({**RECIPE, "recipe": RECIPE}, "recipe"),
        ({"recipe": {**RECIPE, "ratios": 1}}, "recipe.ratios"),
        ({"recipe": "words"}, "recipe"),
        ({"job": "nothing"}, "job"),
        ({"recipe": RECIPE, "ratio": 0.3}, "ratio"),
        ({"recipe": RECIPE, "dtype": "bf16"}, "dtype"),
        ({"blocks": {"IN00": 1.0}}, "blocks"),
        ({**RECIPE, "sampling": "w"}, "sampling"),
        ({**RECIPE, "sampling": {"shift": 3.0}}, "sampling.prediction"),
        ({**RECIPE, "uncond": "nul"}, "uncond"),
        ({**RECIPE, "uncond": 0.5}, "uncond"),
    ):
        with pytest.raises(BadInput) as caught:
            bake.check(settings.from_dict(bake.BakeSettings, wrong), workspace)
        assert caught.value.where == where


def test_what_a_grid_has_put_there_for_the_moment_is_not_baked(workspace: Workspace) -> None:
    live.put(workspace, RECIPE)
    grid = Recipe.from_dict({**RECIPE, "ratio": 0.2})
    with pair.in_use(workspace, lambda: workspace.live().temporarily(grid)) as leave:
        threading.Timer(0.2, leave.set).start()
        assert bake.check(settings.from_dict(bake.BakeSettings, {}), workspace).ratio == 0.75


def test_a_jobs_winner_is_baked(workspace: Workspace) -> None:
    winner = {"recipe": RECIPE, "sampling": {"prediction": "v"}, "uncond": {"mode": "average", "weight": 0.5}}
    workspace.jobs.runners["grid"] = lambda values, task: {"winner": winner}  # type: ignore[index]
    workspace.jobs.runners["demo"] = lambda values, task: {}  # type: ignore[index]
    grid, demo = workspace.jobs.submit("grid", {}), workspace.jobs.submit("demo", {})
    workspace.jobs.wait(demo.id, 20)
    result = finished(workspace, "bake", {"job": grid.id, "output": "winner"})
    assert result["recipe"]["options"]["prediction"]["prediction"] == "v"
    assert "average" in Path(result["sidecar"]).read_text("utf-8")
    with pytest.raises(BadInput, match="no winner"):
        workspace.submit("bake", {"job": demo.id})


def test_a_yaml_is_not_replaced_without_consent(workspace: Workspace, models: Path) -> None:
    (models / "winner.yaml").write_text("model: {}\n")
    with pytest.raises(BadInput, match=r"winner\.yaml is there already"):
        workspace.submit("bake", {"recipe": RECIPE, "output": "winner"})
    job = workspace.submit("bake", {"recipe": RECIPE, "output": "late"})
    (models / "late.yaml").write_text("model: {}\n")
    workspace.jobs.wait(job.id, 60)
    assert (models / "late.yaml").read_text() == "model: {}\n"
    made = sidecar.run(
        settings.from_dict(sidecar.SidecarSettings, {"model": "base", "sampling": "rf shift 3"}), workspace
    )
    assert (
        next(entry for entry in workspace.host.checkpoints() if entry.name == "base.safetensors").sampling.shift == 3.0
    )
    assert Path(made["sidecar"]) == models / "base.yaml"
    for values, words in (
        ({"model": "base", "sampling": "v"}, "overwrite"),
        ({"model": "nothing"}, "nearest"),
        ({}, "the name of a checkpoint"),
    ):
        with pytest.raises(BadInput, match=words):
            sidecar.run(settings.from_dict(sidecar.SidecarSettings, values), workspace)


def test_stopping_a_merge_leaves_nothing(workspace: Workspace, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(models.iterdir())
    entered = []

    def slow(job_id: str) -> None:
        entered.append(job_id)
        workspace.jobs.cancel(job_id)

    values = settings.to_dict(settings.from_dict(merge.MergeSettings, {**RECIPE, "output": "half"}))
    workspace.jobs.runners["stopping"] = lambda given, task: (  # type: ignore[index]
        slow(task.job_id),
        merge.run(settings.from_dict(merge.MergeSettings, given), workspace, task),
    )[1]
    job = workspace.jobs.wait(workspace.jobs.submit("stopping", values).id, 60)
    assert (job.state, bool(entered)) == ("stopped", True)
    assert sorted(models.iterdir()) == before
