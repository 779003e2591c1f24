"""What a cell of an xyz grid over a merge asks for."""

from __future__ import annotations

from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.extension.axes import changed, read_blocks
from lib_astolfo.hosts.webui.xyz import EPOCH, MERGE_BLOCKS, MERGE_MODEL, MERGE_RATIO, TRAINING_RATIO
from lib_astolfo.merging.lora.use import LoraUse
from lib_astolfo.merging.recipe import Recipe

PAIR = {"a": "base.safetensors", "b": "trained.safetensors"}
STANDING = Recipe("weighted_sum", PAIR, 0.5, {"VAE": 0.1}, hashes={"base.safetensors": "0" * 8})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({MERGE_RATIO: 0.2}, {"ratio": 0.2}),
        ({MERGE_MODEL: "x"}, {"models": {"a": "base.safetensors", "b": "x"}}),
        ({MERGE_BLOCKS: "{IN00: 0.3}"}, {"blocks": {"IN00": 0.3}}),
        ({MERGE_RATIO: 0, MERGE_MODEL: "x"}, {"ratio": 0.0, "models": {"a": "base.safetensors", "b": "x"}}),
    ],
)
def test_an_axis_changes_one_thing_of_the_recipe_that_stands(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    assert changed(STANDING, changes, "loaded").to_dict() == {**STANDING.to_dict(), **expected}


def test_the_hash_of_the_model_that_is_replaced_goes() -> None:
    standing = Recipe("weighted_sum", PAIR, 0.5, hashes=dict.fromkeys(PAIR.values(), "0" * 8))
    assert changed(standing, {MERGE_MODEL: "x"}, "loaded").hashes == {"base.safetensors": "0" * 8}


@pytest.mark.parametrize(
    ("changes", "ratio", "blocks"),
    [
        ({MERGE_MODEL: "x"}, 0.5, None),
        ({MERGE_MODEL: "x", MERGE_RATIO: 0.8}, 0.8, None),
        ({MERGE_MODEL: "x", MERGE_BLOCKS: "M00: 1"}, None, {"M00": 1}),
    ],
)
def test_without_a_recipe_it_is_a_sum_with_the_loaded_model(changes: Any, ratio: Any, blocks: Any) -> None:
    expected = Recipe("weighted_sum", {"a": "loaded", "b": "x"}, ratio, blocks, dtype="keep")
    assert changed(None, changes, "loaded") == expected


@pytest.mark.parametrize(
    ("standing", "changes", "where"),
    [
        (None, {MERGE_RATIO: 0.5}, MERGE_RATIO),
        (None, {MERGE_RATIO: 0.5, MERGE_BLOCKS: "M00: 1"}, f"{MERGE_RATIO}, {MERGE_BLOCKS}"),
        (STANDING, {MERGE_RATIO: float("nan")}, MERGE_RATIO),
        (STANDING, {MERGE_BLOCKS: "M00: ["}, MERGE_BLOCKS),
        (STANDING, {MERGE_BLOCKS: " ".join(["0.5"] * 20), MERGE_RATIO: 0.3}, MERGE_RATIO),
        (STANDING, {MERGE_BLOCKS: "M99: 0.5"}, "blocks.M99"),
    ],
)
def test_what_cannot_be_meant_is_refused(standing: Recipe | None, changes: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        changed(standing, changes, "loaded")
    assert caught.value.where == where


def test_blocks_are_numbers_names_or_a_preset() -> None:
    sdxl = read_blocks(", ".join(str(n / 20) for n in range(20)))
    assert len(sdxl) == 20 and sdxl["BASE"] == 0.0
    assert read_blocks("in00: 0.3, M00: 1") == {"IN00": 0.3, "M00": 1}
    assert len(read_blocks("GRAD_V")) in (20, 26)


RUN, OTHER = "cats/snapshots/cats-000012.safetensors", "cats/snapshots/cats-000020.safetensors"


def trained(base: str, name: str, ratio: float) -> dict[str, Any]:
    return {"method": "lora", "models": {"a": base}, "loras": [{"file": name, "weight": ratio}], "dtype": "keep"}


@pytest.mark.parametrize(
    ("changes", "name", "ratio"),
    [({EPOCH: RUN}, RUN, 1.0), ({EPOCH: RUN, TRAINING_RATIO: 0.3}, RUN, 0.3)],
)
def test_a_snapshot_lies_on_the_loaded_model(changes: dict[str, Any], name: str, ratio: float) -> None:
    assert (
        changed(None, changes, "loaded", trained).to_dict()
        == Recipe.from_dict(trained("loaded", name, ratio)).to_dict()
    )


@pytest.mark.parametrize(
    ("changes", "name", "ratio"),
    [
        ({TRAINING_RATIO: 0.3}, RUN, 0.3),
        ({MERGE_RATIO: 0.3}, RUN, 0.3),
        ({EPOCH: OTHER}, OTHER, 0.7),
        ({EPOCH: OTHER, TRAINING_RATIO: 0}, OTHER, 0.0),
    ],
)
def test_the_snapshot_of_the_recipe_that_stands(changes: dict[str, Any], name: str, ratio: float) -> None:
    standing = Recipe.from_dict(trained("base", RUN, 0.7))
    assert (
        changed(standing, changes, "loaded", trained).to_dict()
        == Recipe.from_dict(trained("base", name, ratio)).to_dict()
    )


def test_a_snapshot_on_a_merge_and_with_one() -> None:
    own = LoraUse("style.safetensors", 0.8)
    standing = Recipe("weighted_sum", PAIR, 0.5, loras=(own,))
    on_top = changed(standing, {EPOCH: RUN, TRAINING_RATIO: 0.4, MERGE_RATIO: 0.2}, "loaded", trained)
    assert (on_top.ratio, on_top.loras) == (0.2, (own, LoraUse(RUN, 0.4)))
    again = changed(on_top, {TRAINING_RATIO: 0.9}, "loaded", trained)
    assert (again.ratio, again.loras) == (0.2, (own, LoraUse(RUN, 0.9)))


@pytest.mark.parametrize("standing", [None, STANDING])
def test_a_ratio_of_no_training_is_refused(standing: Recipe | None) -> None:
    with pytest.raises(BadInput) as caught:
        changed(standing, {TRAINING_RATIO: 0.5}, "loaded", trained)
    assert caught.value.where == TRAINING_RATIO and EPOCH in caught.value.expected
