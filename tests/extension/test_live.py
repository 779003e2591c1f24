"""Recipes in the weights of a model through generations, grids, refiners and loads of a stand-in WebUI."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.commands import live as commands
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.extension.live import LiveMerges
from lib_astolfo.hosts import infokeys
from lib_astolfo.hosts.base import CheckpointEntry, Folders
from lib_astolfo.hosts.webui.live import CACHES
from lib_astolfo.hosts.webui.turns import Turns
from lib_astolfo.hosts.webui.xyz import MERGE_MODEL, MERGE_RATIO
from lib_astolfo.merging.line import from_line, to_line
from lib_astolfo.merging.recipe import Recipe
from tests.hosts.webui_unit.test_turns import Fifo
from tests.merging.tiny import SD1_SHAPES, UNET, tensors

KEY = UNET + "middle_block.0.in_layers.0.bias"


class Model:
    """A loaded checkpoint. ``kept``: its weights are there still though it is not the loaded one."""

    showing: Any = None

    def __init__(self, path: Path) -> None:
        self.entry = CheckpointEntry(path.name, path, "sd1", 1, None, Sampling())
        self.source = CheckpointFile.open(path)
        self.tensors = {name: value for name, value in load_file(path).items() if value.is_floating_point()}
        self.kept = False

    def weights(self) -> dict[str, torch.Tensor]:
        return self.tensors

    def was_in(self, sd_model: Any) -> bool:
        return sd_model is self.entry.name

    def share(self, other: Path) -> float:
        """How much of another file is in the weights."""
        own, theirs = self.source.tensor(KEY).float(), load_file(other)[KEY].float()
        return round(float(((self.tensors[KEY].float() - own) / (theirs - own)).mean()), 2)


class Host:
    name = "stand-in"

    def __init__(self, folder: Path) -> None:
        self.folders = Folders((folder,), folder / "out", folder / "out" / "jobs")
        self.model: Model | None = None
        self._turns = Turns(Fifo())

    def resolve(self, name: str) -> Path:
        path = self.folders.models[0] / name
        if not path.is_file():
            raise BadInput("checkpoint", name, "a file")
        return path

    def lock(self) -> Turns:
        return self._turns


class Job:
    """The WebUI's processing object."""

    def __init__(self) -> None:
        self.extra_generation_params: dict[str, str] = {}
        self.closed = 0
        self.comments: list[str] = []
        self.cached_c = ["key", "value"]

    def comment(self, text: str) -> None:
        self.comments.append(text)

    def close(self) -> None:
        self.closed += 1


class Stage:
    def __init__(self, folder: Path, processing: ModuleType, sd_models: ModuleType) -> None:
        for number, name in enumerate(("a", "b", "c")):
            save_file(tensors(number, torch.float32, SD1_SHAPES), folder / f"{name}.safetensors")
        self.folder, self.processing, self.sd_models = folder, processing, sd_models
        self.host = Host(folder)
        self.workspace = Workspace(self.host)  # type: ignore[arg-type]
        served: Any = SimpleNamespace(made=self.workspace, workspace=self.workspace)
        self.live = LiveMerges(served, lambda error: None)
        self.load("a")

    def load(self, name: str, *, aside: bool = False) -> Model:
        """The WebUI loads a file into the object it has."""
        self.host.model = Model(self.folder / f"{name}.safetensors")
        self.sd_models.SkipWritingToConfig.skip = aside  # type: ignore[attr-defined]
        self.live.on_model_loaded(self.host.model.entry.name)
        return self.host.model

    @property
    def share(self) -> float:
        """Of b in the loaded weights."""
        assert self.host.model is not None
        return self.host.model.share(self.folder / "b.safetensors")

    def begin(self) -> Job:
        job = Job()
        self.live.begin(job)
        return job

    def prepare(self, job: Job, text: str = "", **changes: Any) -> None:
        names = {"ratio": MERGE_RATIO, "model": MERGE_MODEL}
        self.live.prepare(job, text, {names[name]: value for name, value in changes.items()})


def recipe(ratio: float, a: str = "a", b: str = "b") -> Recipe:
    return Recipe("weighted_sum", {"a": f"{a}.safetensors", "b": f"{b}.safetensors"}, ratio, dtype="keep")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A model in memory, and the WebUI's modules that are asked."""
    processing: Any = ModuleType("modules.processing")
    processing.StableDiffusionProcessing = type("P", (), {name: ["key", "value"] for name in CACHES[:2]})
    processing.StableDiffusionProcessingTxt2Img = type("T", (), {name: ["key", "value"] for name in CACHES[2:]})
    sd_models: Any = ModuleType("modules.sd_models")
    sd_models.SkipWritingToConfig = type("Skip", (), {"skip": False})
    package: Any = ModuleType("modules")
    package.processing, package.sd_models = processing, sd_models
    for module in (package, processing, sd_models):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return Stage(tmp_path, processing, sd_models)


def test_nothing_happens_without_a_merge(stage: Stage) -> None:
    job = stage.begin()
    job.extra_generation_params[infokeys.MERGE] = "of another cell"
    stage.prepare(job)
    stage.live.check(job)
    assert job.extra_generation_params == {} and stage.workspace.merged is None
    job.close()
    assert job.closed == 1 and job.cached_c[0] == "key"


def test_a_recipe_of_one_generation(stage: Stage) -> None:
    job = stage.begin()
    stage.prepare(job, to_line(recipe(0.25)))
    assert stage.share == 0.25
    assert from_line(job.extra_generation_params[infokeys.MERGE]) == recipe(0.25)
    stage.live.check(job)
    assert job.cached_c[0] is None and stage.processing.StableDiffusionProcessing.cached_uc[0] is None
    job.close()
    assert (stage.share, stage.workspace.recipe(), job.closed) == (0.0, None, 1)
    job.close()
    assert job.closed == 2, "the host's own again"


def test_what_stood_stands_again_after_a_grid(stage: Stage) -> None:
    stage.workspace.live().apply(recipe(0.5))
    job = stage.begin()
    for ratio in (0.1, 0.9, 0.3):
        cell = copy.copy(job)
        stage.prepare(cell, ratio=ratio)
        assert stage.share == ratio
        assert from_line(cell.extra_generation_params[infokeys.MERGE]).ratio == ratio
    job.close()
    assert stage.share == 0.5 and stage.workspace.recipe() == recipe(0.5)


def test_a_bad_cell_changes_nothing(stage: Stage) -> None:
    job = stage.begin()
    stage.prepare(job, ratio=0.1, model="b.safetensors")
    for changes in ({"model": "nothing"}, {"ratio": 0.2}):
        with pytest.raises(BadInput):
            stage.prepare(copy.copy(job), **changes)
        assert stage.share in (0.0, 0.1)
    job.close()
    assert stage.share == 0.0


def test_a_generation_that_nobody_closed_is_ended_by_the_next(stage: Stage) -> None:
    stage.prepare(Job(), to_line(recipe(0.25)))
    job = stage.begin()
    stage.prepare(job)
    assert stage.share == 0.0 and infokeys.MERGE not in job.extra_generation_params


@pytest.mark.parametrize("asked", ["", to_line(recipe(0.75))])
def test_a_refiner_takes_the_model_s_place_for_a_while(stage: Stage, asked: str) -> None:
    stage.workspace.live().apply(recipe(0.5))
    job = stage.begin()
    stage.prepare(job, asked)
    stage.load("c", aside=True)
    stage.live.check(job)
    assert stage.workspace.recipe() is None
    stage.load("a", aside=True)
    assert stage.share == (0.75 if asked else 0.5)
    stage.live.check(job)
    stage.load("c", aside=True)
    job.close()
    stage.load("a")
    assert stage.share == 0.5


def test_a_recipe_that_cannot_be_written_again_ends_the_picture(stage: Stage) -> None:
    stage.workspace.live().apply(recipe(0.5))
    job = stage.begin()
    stage.prepare(job)
    stage.load("c", aside=True)
    (stage.folder / "b.safetensors").unlink()
    stage.load("a", aside=True)
    with pytest.raises(Failed, match="loaded anew"):
        stage.live.check(job)


def test_another_checkpoint_ends_it(stage: Stage) -> None:
    stage.workspace.live().apply(recipe(0.5))
    stage.load("c")
    stage.load("a")
    job = stage.begin()
    stage.prepare(job)
    assert stage.share == 0.0 and infokeys.MERGE not in job.extra_generation_params


def test_the_same_file_read_anew_into_the_same_object_keeps_it(stage: Stage) -> None:
    stage.workspace.live().apply(recipe(0.5))
    stage.load("a")
    assert stage.share == 0.5


def test_a_model_kept_beside_another_gets_its_own_weights(stage: Stage) -> None:
    first = stage.host.model
    assert first is not None
    stage.workspace.live().apply(recipe(0.5))
    first.kept = True
    stage.host.model = Model(stage.folder / "c.safetensors")  # without a callback
    stage.prepare(stage.begin())
    assert first.share(stage.folder / "b.safetensors") == 0.0
    stage.host.model = first
    stage.prepare(stage.begin())
    assert stage.share == 0.0 and stage.workspace.recipe() is None


def test_reading_follows_a_merge_that_is_read_otherwise(stage: Stage) -> None:
    assert not stage.live.standing()
    stage.workspace.live().apply(recipe(0.5))
    assert not stage.live.standing(), "read as the loaded one"
    changed = Recipe("weighted_sum", recipe(0.5).models, 0.5, options={"prediction": "v"})
    stage.workspace.live().apply(changed)
    assert stage.live.standing().sampling == Sampling("v")
    assert "weighted_sum" in stage.live.said()


def test_new_scripts_find_the_own_weights(stage: Stage) -> None:
    stage.workspace.live().apply(recipe(0.5))
    stage.live.close()
    assert stage.share == 0.0


def test_a_recipe_that_waits_for_its_model_can_be_taken_back(stage: Stage) -> None:
    stage.workspace.live().apply(recipe(0.5))
    job = stage.begin()
    stage.prepare(job)
    stage.load("c", aside=True)
    job.close()
    assert "a.safetensors, when it is loaded again" in commands.state(stage.workspace)["description"]
    commands.delete(stage.workspace)
    stage.load("a")
    assert stage.share == 0.0 and stage.workspace.recipe() is None
