"""Merges into loaded weights that fail, or whose files change under them: nothing is left half done."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import BadInput, Failed, Stopped
from lib_astolfo.merging.live import LiveWeights
from lib_astolfo.merging.recipe import Recipe
from tests.merging.loaded import KEY, Loaded, Resolve, equal, recipe
from tests.merging.tiny import SD1_SHAPES, UNET, Make, load


@pytest.mark.parametrize("before", [None, recipe(0.5)])
def test_a_failure_midway_puts_the_weights_back(
    make: Make, files: None, resolve: Resolve, before: Recipe | None
) -> None:
    spoiled = load(resolve("b"))[UNET + "out.2.weight"].clone()
    spoiled.view(-1)[-1] = float("nan")
    make("bad", 2, extra={UNET + "out.2.weight": spoiled})
    model = Loaded(resolve("a"), torch.float16)
    live = LiveWeights(model, resolve)
    if before is not None:
        live.apply(before)
    stood = model.copy()
    with pytest.raises(Failed, match=r"out\.2\.weight"):
        live.apply(recipe(0.7, "bad"))
    assert equal(model.copy(), stood)
    assert live.current == before

    def stop(done: int, total: int, text: str) -> None:
        if done == total:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        live.apply(recipe(0.9), progress=stop)
    assert equal(model.copy(), stood)
    assert live.current == before


def test_recipes_that_do_not_fit_change_nothing(make: Make, files: None, resolve: Resolve) -> None:
    make("sd1", 4, shapes=SD1_SHAPES)
    make("wide", 5, extra={UNET + "input_blocks.0.0.weight": torch.ones(8, 9, 3, 3).half()})
    model = Loaded(resolve("a"), torch.float16)
    own = model.copy()
    live = LiveWeights(model, resolve)
    for models in ({"a": "sd1", "b": "sd1"}, {"a": "wide", "b": "wide"}, {"a": "a", "b": "missing"}):
        with pytest.raises(BadInput):
            live.apply(Recipe("weighted_sum", models, 0.5))
    assert equal(model.copy(), own)
    assert live.current is None


def test_a_model_file_replaced_or_removed_does_not_hinder_undo(files: None, resolve: Resolve, models: Path) -> None:
    model = Loaded(resolve("a"), torch.float16)
    own = model.copy()
    live = LiveWeights(model, resolve)
    live.apply(recipe(0.5))
    if os.name != "nt":
        shutil.copy(models / "b.safetensors", models / "new")
        os.replace(models / "new", models / "a.safetensors")
        live.restore()
        assert equal(model.copy(), own)
        live.apply(recipe(0.5))
        (models / "a.safetensors").unlink()
        live.restore()
        assert equal(model.copy(), own)


def test_a_model_file_written_over_in_place_is_not_trusted(files: None, resolve: Resolve, models: Path) -> None:
    model = Loaded(resolve("a"), torch.float16)
    live = LiveWeights(model, resolve)
    live.apply(recipe(0.5))
    path = models / "a.safetensors"
    os.utime(path, ns=(1, 1))
    with pytest.raises(Failed, match="written to"):
        live.restore()


def test_if_the_recipe_that_stood_before_is_lost_the_own_weights_come_back(
    make: Make, files: None, resolve: Resolve, models: Path
) -> None:
    make("bad", 2, extra={KEY: torch.full((40, 41), float("inf")).half()})
    model = Loaded(resolve("a"), torch.float16)
    own = model.copy()
    live = LiveWeights(model, resolve)
    live.apply(recipe(0.5))
    with (models / "b.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises((BadInput, Failed)):
        live.apply(recipe(0.5, "bad"))
    assert equal(model.copy(), own)
    assert live.current is None
