"""What is remembered for a file's hash counts where it is drawn, between what was set and what the file says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.commands import bake, grid, lab, memory, readings, settings, sidecar, tables
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost


class Told:
    """A job's end of the line."""

    def progress(self, done: int, total: int, text: str = "") -> None:
        pass

    def event(self, text: str, **data: Any) -> None:
        pass


def draw(workspace: Workspace, **values: Any) -> Any:
    request = {"a": "base", "b": "trained", "steps": 2, "show": ["base"], **values}
    return lab.draw(workspace, settings.from_dict(lab.LabRequest, request))["base"]


def sources(workspace: Workspace) -> tuple[str, str]:
    return readings.sampling_state(workspace)["source"], readings.uncond_state(workspace)["source"]


def anew(workspace: Workspace, models: Path) -> Workspace:
    """After a restart: nothing but the files on disk."""
    return Workspace(StandaloneHost([models], workspace.host.folders.outputs, device="cpu"))


def test_remembered_by_name_counts_until_something_is_set(workspace: Workspace) -> None:
    entry = memory.remember(workspace, "base", "v ztsnr", "average 0.7", 0.5)
    with CheckpointFile.open(workspace.resolve("base")) as file:
        assert entry["hash"] == file.sha256()[:10]
    assert (entry["name"], memory.listing(workspace)) == ("base.safetensors", [entry])
    workspace.load("base")
    assert sources(workspace) == ("memory", "memory")
    assert readings.sampling_state(workspace)["sampling"]["prediction"] == "v"
    assert readings.sampling_state(workspace)["checkpoint"]["prediction"] == "eps"
    request = draw(workspace).request
    assert (request.sampling, request.uncond) == (Sampling("v", True), Uncond("average", weight=0.7))
    assert request.cfg_rescale == 0.5
    assert draw(workspace, cfg_rescale=0.0, uncond="zero").request.cfg_rescale == 0.0
    workspace.sampling, workspace.uncond = Sampling("x0"), Uncond("comma")
    assert sources(workspace) == ("set", "set")
    assert draw(workspace).request.uncond.mode == "comma"
    workspace.sampling = workspace.uncond = None
    assert memory.forget(workspace, "base") == {"hash": entry["hash"], "forgotten": True}
    assert memory.forget(workspace, entry["hash"]) == {"hash": entry["hash"], "forgotten": False}
    assert sources(workspace) == ("checkpoint", "host")
    assert draw(workspace).request.sampling == Sampling()


def test_it_stays_over_a_restart_and_a_rename(workspace: Workspace, models: Path) -> None:
    short_hash = memory.remember(workspace, "base", "rf shift 3")["hash"]
    again = anew(workspace, models)
    again.load("base")
    assert sources(again) == ("memory", "host")
    assert draw(again).request.sampling == Sampling("rf", shift=3.0)
    (models / "base.safetensors").rename(models / "other.safetensors")
    third = anew(workspace, models)
    third.load("other")
    assert sources(third) == ("checkpoint", "host"), "its hash is not known, and reading it for that is no GET's matter"
    assert draw(third, a="other").request.sampling == Sampling("rf", shift=3.0), "a picture needs the hash anyway"
    assert sources(third) == ("memory", "host")
    listed = {one["name"]: one for one in tables.checkpoints(anew(workspace, models))}
    assert listed["other.safetensors"]["short_hash"] == short_hash
    assert listed["other.safetensors"]["remembered"]["sampling"]["shift"] == 3.0
    assert (listed["trained.safetensors"]["remembered"], listed["trained.safetensors"]["short_hash"]) == (None, None)


def test_another_file_of_the_same_name_is_not_meant(workspace: Workspace, models: Path) -> None:
    memory.remember(workspace, "base", "v")
    shutil.copy(models / "trained.safetensors", models / "base.safetensors")
    workspace.load("base")
    assert sources(workspace) == ("checkpoint", "host")
    assert draw(workspace).request.sampling != Sampling("v")


def test_no_file_is_read_where_nothing_is_remembered(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.load("base")
    monkeypatch.setattr(CheckpointFile, "sha256", lambda *_: pytest.fail("the file was hashed"))
    assert sources(workspace) == ("checkpoint", "host")
    memory.remember(workspace, "0123456789", uncond=Uncond("zero"))
    assert sources(workspace) == ("checkpoint", "host")
    assert all(one["remembered"] is None for one in tables.checkpoints(workspace))


def test_by_hash_and_its_name(workspace: Workspace) -> None:
    assert memory.remember(workspace, "ABCDEF0123", uncond="null")["name"] == ""
    draw(workspace)
    short_hash = workspace.host.model.entry.short_hash
    assert memory.remember(workspace, short_hash, "v")["name"] == "base.safetensors"
    assert [one["hash"] for one in memory.listing(workspace)] == ["abcdef0123", short_hash]


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("", {"sampling": "v"}, "model"),
        ("nowhere", {"sampling": "v"}, "nowhere"),
        ("../base", {"sampling": "v"}, "base"),
        ("base", {}, "forget"),
        ("base", {"sampling": "eps ztsnr"}, "ztsnr|zero_terminal_snr"),
        ("base", {"uncond": "naught"}, "naught"),
        ("base", {"cfg_rescale": 1.5}, "cfg_rescale"),
    ],
)
def test_what_cannot_be_remembered(workspace: Workspace, name: str, values: dict[str, Any], found: str) -> None:
    with pytest.raises(BadInput, match=found):
        memory.remember(workspace, name, **values)
    assert memory.listing(workspace) == []


def test_a_damaged_memory_is_told(workspace: Workspace) -> None:
    workspace.memory.path.parent.mkdir(parents=True, exist_ok=True)
    workspace.memory.path.write_text("{")
    workspace.load("base")
    for attempt in (tables.checkpoints, readings.sampling_state, readings.uncond_state, draw, memory.listing):
        with pytest.raises(BadInput, match=r"memory\.json"):
            attempt(workspace)


RECIPE: dict[str, Any] = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.5}


def test_merges_follow_what_is_remembered(workspace: Workspace, models: Path) -> None:
    (models / "trained.yaml").unlink()
    memory.remember(workspace, "trained", "rf shift 3", "null")
    pictures = lab.draw(
        workspace, settings.from_dict(lab.LabRequest, {"a": "base", "b": "trained", "steps": 2, "show": ["merge"]})
    )
    assert pictures["merge"].request.sampling == Sampling("rf", shift=3.0)
    memory.remember(workspace, "trained", "v ztsnr", "null")
    again = lab.draw(
        workspace, settings.from_dict(lab.LabRequest, {"a": "base", "b": "trained", "steps": 2, "show": ["merge"]})
    )
    assert again["merge"].request.sampling == Sampling("v", True)


def test_a_baked_file_and_its_yaml_say_what_was_remembered(workspace: Workspace, models: Path) -> None:
    (models / "trained.yaml").unlink()
    memory.remember(workspace, "trained", "rf shift 3", "null")
    given = settings.from_dict(bake.BakeSettings, {"recipe": RECIPE, "output": "baked"})
    bake.run(given, workspace, Told())  # type: ignore[arg-type]
    with CheckpointFile.open(models / "baked.safetensors") as file:
        found = identify(file)
    assert (found.sampling, found.source) == (Sampling("rf", shift=3.0), "sidecar astolfo entry")
    (models / "baked.yaml").unlink()
    with CheckpointFile.open(models / "baked.safetensors") as file:
        assert identify(file).source == "metadata astolfo"
        assert identify(file).sampling == Sampling("rf", shift=3.0)


def test_markers_that_memory_contradicts_are_not_carried_into_a_merge(workspace: Workspace, models: Path) -> None:
    from lib_astolfo.checkpoints.markers import parse, rewrite

    (models / "trained.yaml").unlink()
    rewrite(models / "trained.safetensors", models / "trained.safetensors", parse(["v_pred"]), overwrite=True)
    for sampling, carried in (("v", True), ("rf", False)):
        memory.remember(workspace, "trained", sampling)
        given = settings.from_dict(bake.BakeSettings, {"recipe": RECIPE, "output": sampling, "sidecar": False})
        bake.run(given, workspace, Told())  # type: ignore[arg-type]
        with CheckpointFile.open(models / f"{sampling}.safetensors") as file:
            assert ("v_pred" in file.tensors) is carried


def test_the_yaml_says_what_is_remembered(workspace: Workspace, models: Path) -> None:
    memory.remember(workspace, "base", "rf shift 3", "null")
    sidecar.run(sidecar.SidecarSettings(model="base"), workspace)
    with CheckpointFile.open(models / "base.safetensors") as file:
        found = identify(file)
    assert (found.sampling, found.uncond) == (Sampling("rf", shift=3.0), Uncond("null"))


def test_a_grid_of_one_model_follows_what_is_remembered(workspace: Workspace) -> None:
    memory.remember(workspace, "base", "x0")
    for models, expected in (({"a": "base"}, "x0"), ({"a": "base", "b": "trained"}, "v")):
        given = settings.from_dict(grid.GridSettings, {"models": models})
        assert grid.natural_sampling(given, workspace).prediction == expected
