"""What the result is: its prediction, its markers, its header."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import methods
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.method import Method
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.report import Report
from tests.merging.tiny import Make, load

Resolve = Callable[[str], Path]
MARK = {"v_pred": torch.zeros(0)}
V_ZTSNR = Sampling("v", True)
MIXED = Sampling("mixed", mixed_weight=0.8)


@pytest.fixture
def trio(make: Make) -> None:
    """eps and eps2 say nothing; v and v2 are marked; rf says it in its metadata."""
    for index, name in enumerate(("eps", "eps2")):
        make(name, index)
    make("v", 3, extra=MARK)
    make("v2", 4, extra={**MARK, "ztsnr": torch.zeros(0)})
    make("rf", 5, metadata={"astolfo.sampling": json.dumps(Sampling("rf", shift=2.5).to_dict())})


def result(resolve: Resolve, tmp_path: Path, recipe: Recipe) -> tuple[Report, CheckpointFile]:
    report = merge(recipe, resolve, tmp_path / "out.safetensors", overwrite=True)
    return report, CheckpointFile.open(tmp_path / "out.safetensors")


def two(a: str, b: str, ratio: float = 0.85, **options: Any) -> Recipe:
    return Recipe("weighted_sum", {"a": a, "b": b}, ratio, options=options)


def three(a: str, b: str, c: str) -> Recipe:
    return Recipe("add_difference", {"a": a, "b": b, "c": c}, 0.5)


@pytest.mark.parametrize(
    ("recipe", "sampling", "markers", "noted"),
    [
        (two("eps", "eps2"), Sampling(), set(), False),
        (two("eps", "v"), Sampling("v"), {"v_pred"}, True),
        (two("eps", "v2"), V_ZTSNR, {"v_pred", "ztsnr"}, True),
        (two("v", "eps"), Sampling(), set(), True),
        (two("eps", "v", 0.0), Sampling(), set(), True),
        (two("eps", "rf"), Sampling("rf", shift=2.5), set(), True),
        (two("v", "v2"), V_ZTSNR, {"v_pred", "ztsnr"}, True),
        (two("eps", "v", prediction="a"), Sampling(), set(), True),
        (two("v", "eps", prediction="v"), Sampling("v"), {"v_pred"}, True),
        (two("eps", "eps2", prediction="rf"), Sampling("rf"), set(), False),
        (two("eps", "eps2", prediction=V_ZTSNR.to_dict()), V_ZTSNR, {"v_pred", "ztsnr"}, False),
        (
            two("eps", "v", prediction={"prediction": "mixed", "mixed_weight": 0.8}),
            MIXED,
            set(),
            True,
        ),
        (three("eps", "v", "eps2"), Sampling("v"), {"v_pred"}, True),
        (three("eps", "v", "v"), Sampling(), set(), True),
        (Recipe("weighted_sum", {"a": "eps", "b": three("eps", "v", "eps2")}, 0.5), Sampling("v"), {"v_pred"}, True),
    ],
    ids=lambda value: value.describe() if isinstance(value, Recipe) else "",
)
def test_prediction_of_the_result(
    trio: None, resolve: Resolve, tmp_path: Path, recipe: Recipe, sampling: Sampling, markers: set[str], noted: bool
) -> None:
    report, file = result(resolve, tmp_path, recipe)
    assert report.sampling == sampling
    assert identify(file).sampling == sampling
    assert {name for name in file.tensors if name in ("v_pred", "ztsnr")} == markers
    assert any("sampled as" in note for note in report.notes) == noted


def test_markers_are_accounted_for(trio: None, resolve: Resolve, tmp_path: Path) -> None:
    report, _ = result(resolve, tmp_path, two("v2", "eps"))
    assert set(report.left_out) == {"v_pred", "ztsnr"}
    report, _ = result(resolve, tmp_path, two("eps", "v2"))
    assert report.copied["ztsnr"] == "marker of v2.safetensors"
    assert not report.left_out
    report, _ = result(resolve, tmp_path, two("eps", "eps2", prediction=V_ZTSNR.to_dict()))
    assert report.copied["ztsnr"] == "marker of the recipe's prediction"


def test_a_clash_can_be_forbidden(trio: None, resolve: Resolve, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="eps predicts eps, v predicts v"):
        result(resolve, tmp_path, two("eps", "v", prediction="same"))
    with pytest.raises(BadInput, match="false with eps"):
        result(resolve, tmp_path, two("eps", "v", prediction={"prediction": "eps", "zero_terminal_snr": True}))


def test_methods_over_many_models_must_be_told(
    trio: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mean = Method("mean", lambda *t: torch.stack(t).mean(0), ("a", "b"), many=True)
    monkeypatch.setitem(methods.METHODS, "mean", mean)
    models = {"a": "eps", "b": "eps2", "c": "v"}
    with pytest.raises(BadInput, match=r"options\.prediction"):
        result(resolve, tmp_path, Recipe("mean", models))
    report, _ = result(resolve, tmp_path, Recipe("mean", models, options={"prediction": "v"}))
    assert report.sampling == Sampling("v")


@pytest.mark.parametrize(
    ("ratio", "kept"),
    [({"b": 0, "c": 0}, True), ({"b": 0}, False), ({"a": 2, "b": 0, "c": 0}, True), (0, True), (0.1, False)],
)
def test_without_another_models_share_the_result_is_sampled_as_a(
    trio: None, resolve: Resolve, tmp_path: Path, ratio: Any, kept: bool
) -> None:
    recipe = Recipe("n_average", {"a": "eps", "b": "eps2", "c": "v"}, ratio)
    if not kept:
        with pytest.raises(BadInput, match=r"options\.prediction"):
            result(resolve, tmp_path, recipe)
        return
    report, _ = result(resolve, tmp_path, recipe)
    assert report.sampling == Sampling()


def test_header(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    kept = {"modelspec.author": "猫", "ss_steps": "12", "astolfo.architecture": "digits", "modelspec.license": "MIT"}
    stale = {"modelspec.hash_sha256": "0x1", "modelspec.title": "A", "modelspec.prediction_type": "epsilon"}
    make("a", 1, metadata={**kept, **stale})
    make("v", 3, extra=MARK)
    recipe = two("a", "v")
    report = merge(recipe, resolve, tmp_path / "out.safetensors", metadata={"modelspec.title": "mine"})
    with CheckpointFile.open(tmp_path / "out.safetensors") as file:
        found = dict(file.metadata)
    assert {key: found[key] for key in kept} == kept
    assert found["format"] == "pt"
    assert found["modelspec.title"] == "mine"
    assert found["modelspec.prediction_type"] == "v"
    assert "modelspec.hash_sha256" not in found
    assert Recipe.from_yaml(found["astolfo.recipe"]) == recipe
    assert Sampling.from_dict(json.loads(found["astolfo.sampling"])) == report.sampling
    json.dumps(report.to_dict())
    assert "sampled as v" in report.summary()


def test_uncond_comes_from_the_model_that_gives_the_prediction(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    uncond = {"mode": "null"}
    make("a", 1)
    make("v", 3, extra=MARK, metadata={"astolfo.uncond": json.dumps(uncond)})
    merge(two("a", "v"), resolve, tmp_path / "out.safetensors")
    with CheckpointFile.open(tmp_path / "out.safetensors") as file:
        found = identify(file).uncond
    assert found is not None
    assert found.mode == "null"


def test_no_number_is_lost_between_models(trio: None, resolve: Resolve, tmp_path: Path) -> None:
    """Every key of every model is merged, copied or left out, and said to be."""
    report, file = result(resolve, tmp_path, two("v2", "rf"))
    everything = set(load(resolve("v2"))) | set(load(resolve("rf")))
    assert everything == set(file.tensors) | set(report.left_out)
    assert report.merged + len(report.copied) == len(file.tensors)
