"""supermerger's and mergekit's recipes by their numbers, and the headers that other tools read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import recipes
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.recipes import supermerger, supermerger_text, writing
from lib_astolfo.merging.recipes.supermerger import Settings
from tests.merging.tiny import UNET, Make, load

Resolve = Callable[[str], Path]
KEYS = {
    "BASE": "conditioner.embedders.1.model.text_projection",
    "IN04": UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
    "OUT08": UNET + "out.2.weight",
    "VAE": "first_stage_model.decoder.conv_out.weight",
}
NAMES = {"a": "a", "b": "b", "c": "c"}
ALPHA = [i / 19 for i in range(20)]  # BASE first
BETA = [0.5 - i / 40 for i in range(20)]
PLACE = {"BASE": 0, "IN04": 5, "OUT08": 19, "VAE": 0}


@pytest.fixture
def merged(make: Make, resolve: Resolve, tmp_path: Path) -> Callable[[Recipe], dict[str, Tensor]]:
    for seed, name in enumerate("abc", 1):
        make(name, seed, torch.float32)

    def run(recipe: Recipe) -> dict[str, Tensor]:
        merge(replace(recipe, dtype="fp32"), resolve, tmp_path / "out.safetensors", overwrite=True)
        return load(tmp_path / "out.safetensors")

    return run


Merged = Callable[[Recipe], dict[str, Tensor]]


def inputs(models: Path, key: str) -> list[Tensor]:
    return [load(models / f"{name}.safetensors")[key] for name in "abc"]


@pytest.mark.parametrize("by_block", [False, True])
@pytest.mark.parametrize("mode", ["Weight sum", "Add difference", "sum Twice", "Triple sum"])
def test_supermerger_modes(mode: str, by_block: bool, merged: Merged, models: Path) -> None:
    given = Settings(NAMES, mode, alpha=0.3, beta=0.2, weights_a=ALPHA * by_block, weights_b=BETA * by_block)
    made = merged(supermerger.build(given))
    for block, key in KEYS.items():
        a, b, c = inputs(models, key)
        x, y = (ALPHA[PLACE[block]], BETA[PLACE[block]]) if by_block else (0.3, 0.2)
        expected = {
            "Weight sum": (1 - x) * a + x * b,
            "Add difference": a + x * (b - c),
            "sum Twice": (1 - y) * ((1 - x) * a + x * b) + y * c,
            "Triple sum": (1 - x - y) * a + x * b + y * c,
        }[mode]
        torch.testing.assert_close(made[key], expected, rtol=1e-5, atol=1e-6, msg=lambda said, b=block: f"{b}: {said}")


def test_26_weights_on_sdxl(merged: Merged, models: Path) -> None:
    weights = [i / 25 for i in range(26)]
    made = merged(supermerger.build(Settings(NAMES, weights_a=weights)))
    for block, place in {"BASE": 0, "IN04": 5, "OUT08": 22}.items():
        a, b, _ = inputs(models, KEYS[block])
        torch.testing.assert_close(made[KEYS[block]], torch.lerp(a, b, weights[place]))


def test_a_triple_sum_that_cancels_is_refused() -> None:
    with pytest.raises(BadInput, match="add_difference"):
        supermerger.build(Settings(NAMES, "Triple sum", alpha=0.5, beta=-0.5))


@pytest.mark.parametrize(
    ("calcmode", "method", "slots"),
    [("cosineA", "cosine_a", "ab"), ("trainDifference", "train_difference", "abc"),
     ("smoothAdd MT", "smooth_add", "abc"), ("tensor2", "tensor2", "ab"), ("extract", "extract", "abc")],
)  # fmt: skip
def test_supermerger_calculations(calcmode: str, method: str, slots: str) -> None:
    given = Settings(
        NAMES, "Weight sum", calcmode, 0.5, 0.25, ALPHA, BETA, elements=("OUT03:attn:1",), adjust=(1.0,) * 8
    )
    recipe = supermerger.build(given)
    assert (recipe.method, "".join(recipe.models), recipe.elements, len(recipe.adjust)) == (
        method,
        slots,
        ("OUT03:attn:1",),
        8,
    )
    assert ("VAE" in (recipe.blocks or {})) == (calcmode != "cosineA")
    if method in ("tensor2", "extract"):
        assert recipe.options["beta"]["IN04"] == BETA[5]


HISTORY = (
    '"ID","time","name","weights alpha","weights beta","model A","model B","model C","alpha","beta","mode","use MBW"\n'
    '1,2025.01.02,"x","0.5,0.5","",0123456789,1123456789,,0.25,0.2,Weight sum:A*(1-alpha)+B*alpha,False\n'
    f'2,2025.01.03,y,"{",".join(map(str, ALPHA))}","",0123456789,1123456789,2123456789,0.25,0.2,'
    "Add difference,True,out,"
    '"[]","[]","OUT03:attn2:0.5","trainDifference",-1,"1,0,0,2",0.3,Off,[],\n'
)


def test_a_row_of_the_history() -> None:
    last = recipes.read(HISTORY)
    assert (last.recipe.method, last.recipe.elements, last.recipe.adjust) == (
        "train_difference",
        ("OUT03:attn2:0.5",),
        (1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0),
    )
    assert last.recipe.hashes == {digest: digest for digest in ("0123456789", "1123456789", "2123456789")}
    assert last.recipe.blocks is not None and last.recipe.blocks["IN04"] == ALPHA[5]
    first = supermerger_text.read(HISTORY, row=1).recipe
    assert (first.method, first.ratio, first.blocks) == ("weighted_sum", 0.25, {"VAE": 0.25})
    with pytest.raises(BadInput, match="no row 7"):
        supermerger_text.read(HISTORY, row=7)
    with pytest.raises(BadInput, match=r"row 2: weights alpha.*random"):
        recipes.read(HISTORY.replace("0.0,0.05", "R,0.05"))
    with pytest.raises(BadInput, match=r"row 2.*mode: found 'Sum'"):
        recipes.read(HISTORY.replace("Add difference", "Sum"))


def test_what_supermerger_prints() -> None:
    text = (
        "  model A  \t: one\n  model B  \t: sub\\two\n  model C  \t: None\n  alpha,beta\t: (0.5, 0.25)\n"
        f"  weights_alpha\t: {ALPHA[1:]}\n  weights_beta\t: []\n  mode\t\t: Weight sum\n  MBW \t\t: True\n"
        "  CalcMode \t: normal\n  Elemental \t: ['IN04:attn:1']\n  Weights Seed\t: 0\n  Off \t: ([], [''])\n"
        "  Adjust \t: \n  Device \t: cpu\n"
    )
    recipe = recipes.read(text).recipe
    assert recipe.models == {"a": "one", "b": "sub/two"} and recipe.elements == ("IN04:attn:1",)
    assert recipe.blocks is not None and (recipe.blocks["BASE"], recipe.blocks["IN00"]) == (0.5, ALPHA[1])


KIT: dict[str, Any] = {"models": [{"model": "a"}, {"model": "b"}], "dtype": "float32"}
OVER = {"base_model": "c", **KIT}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"merge_method": "linear", **KIT}, lambda a, b, c: (a + b) / 2),
        (
            {"merge_method": "linear", "models": [{"model": "a", "parameters": {"weight": 3}}, {"model": "b"}]},
            lambda a, b, c: (3 * a + b) / 4,
        ),
        (
            {**OVER, "merge_method": "task_arithmetic", "parameters": {"weight": 0.5, "lambda": 2.0}},
            lambda a, b, c: c + (a - c) + (b - c),
        ),
        (
            {**OVER, "merge_method": "task_arithmetic", "parameters": {"weight": 0.5, "normalize": True}},
            lambda a, b, c: (a + b) / 2,
        ),
        ({**OVER, "merge_method": "dare_linear", "parameters": {"density": 1.0}}, lambda a, b, c: a + b - c),
    ],
    ids=["linear", "weighted", "lambda", "normalized", "dare"],
)
def test_mergekit_by_numbers(given: Any, expected: Callable[..., Tensor], merged: Merged, models: Path) -> None:
    made = merged(recipes.read(json.dumps(given)).recipe)
    for key in KEYS.values():
        torch.testing.assert_close(made[key], expected(*inputs(models, key)), rtol=1e-4, atol=1e-5)


def test_mergekit_elects_signs_by_the_sum_of_the_values() -> None:
    text = "merge_method: ties\nbase_model: org/base\nmodels:\n  - model: org/base\n"
    text += "  - {model: x, parameters: {density: 0.5}}\n"
    text += "  - {model: y, parameters: {density: 0.5}}\nparameters: {weight: 0.3, lambda: 0.5}\ndtype: bfloat16\n"
    recipe = recipes.read(text).recipe
    assert (recipe.method, recipe.models, recipe.ratio, recipe.dtype) == (
        "ties_sum", {"a": "x", "b": "y", "base": "org/base"}, 0.5, "bf16",
    )  # fmt: skip
    assert recipe.options == {"k": 0.5, "vote_sgn": False}
    della = {**OVER, "merge_method": "della", "parameters": {"density": 0.7, "epsilon": 0.1}}
    options = recipes.read(json.dumps(della)).recipe.options
    assert (round(options["probability"], 6), options["della_eps"], options["k"]) == (0.3, 0.2, 1.0)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"merge_method": "breadcrumbs", **OVER}, "breadcrumbs"),
        ({"merge_method": "ties", **KIT}, "base_model"),
        ({"merge_method": "dare_ties", **OVER}, "normalize: true"),
        ({"merge_method": "linear", **KIT, "parameters": {"weight": [0, 1]}}, "gradient"),
        ({"merge_method": "linear", "slices": [{}, {}]}, "slices"),
        ({"merge_method": "linear", "models": [{"name": "a"}]}, r"models\[0\]"),
        ({"merge_method": "linear", **KIT, "extra": 1}, "extra"),
        ({"merge_method": "slerp", **KIT}, "base_model"),
    ],
)
def test_mergekit_without_its_like_here(given: Any, found: str) -> None:
    with pytest.raises(BadInput, match=found):
        recipes.read(json.dumps(given))


def test_headers_for_other_tools(make: Make, resolve: Resolve, models: Path, tmp_path: Path) -> None:
    """A1111 reads every entry that begins with { as JSON, and takes names, hashes and older recipes from it."""
    make("a", 1)
    make("b", 2)
    merge(Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.25), resolve, models / "m.safetensors", hashes=True)
    nested = Recipe(
        "add_difference",
        {"a": "m", "b": Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.5, dtype="fp32"), "c": "a"},
        1.0,
    )
    merge(nested, resolve, tmp_path / "n.safetensors", hashes=True)
    with CheckpointFile.open(tmp_path / "n.safetensors") as file, CheckpointFile.open(models / "a.safetensors") as a:
        recipe, known = (json.loads(file.metadata[key]) for key in ("sd_merge_recipe", "sd_merge_models"))
        digest = a.sha256()
    assert (recipe["interp_method"], recipe["multiplier"], recipe["save_as_half"]) == ("Add difference", 1.0, True)
    assert recipe["tertiary_model_hash"] == digest and recipe["secondary_model_hash"] is None
    assert known[digest]["name"] == "a" and len(known) == 3
    older = known[recipe["primary_model_hash"]]["sd_merge_recipe"]
    assert older["primary_model_hash"] == digest and Recipe.from_yaml(older["recipe"]).ratio == 0.25
    make("c", 3)
    merge(Recipe("weighted_sum", {"a": "m", "b": "c"}, 0.5), resolve, tmp_path / "o.safetensors", hashes=True)
    with CheckpointFile.open(tmp_path / "o.safetensors") as file:
        grown = json.loads(file.metadata["sd_merge_models"])
    assert {entry["name"] for entry in grown.values()} == {"m", "c", "a", "b"}  # two of them from m's header
    reading = recipes.a1111.read({"sd_merge_recipe": recipe, "sd_merge_models": known})
    assert reading.recipe.describe() == nested.describe()


def test_writers_of_text() -> None:
    recipe = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.25, hashes={"a": "0" * 64})
    text, notes = writing.WRITERS["a1111"](recipe)
    assert json.loads(text)["primary_model_hash"] == "0" * 64 and "b" in notes[0]
    assert Recipe.from_yaml(writing.WRITERS["yaml"](recipe)[0]) == recipe


def test_a_long_history_stays_a_recipe() -> None:
    """A1111's running average of 60 models is 60 baked merges in each other; some names look like numbers."""
    entries: dict[str, Any] = {f"{i:064x}": {"name": f"{i}e{i}", "sd_merge_recipe": None} for i in range(60)}

    def merged_from(a: int, b: int) -> dict[str, Any]:
        hashes = {"primary_model_hash": f"{a:064x}", "secondary_model_hash": f"{b:064x}"}
        return {"type": "webui", "interp_method": "Weighted sum", "multiplier": 0.5, **hashes}

    for i in range(60, 119):
        before = i - 1 if i > 60 else 0
        entries[f"{i:064x}"] = {"name": f"m{i}", "sd_merge_recipe": merged_from(before, i - 59)}
    header = {"sd_merge_recipe": merged_from(118, 0), "sd_merge_models": entries}
    recipe = recipes.from_header(header).recipe
    assert len(recipe.files()) == 60 and recipe.files()[1] == "1e1"
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
