"""Real recipes of other programs become ours, or say at which line why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.merging import recipes
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.recipes import autombw, writing
from lib_astolfo.merging.recipes.reading import checkpoint_name

DATA = Path(__file__).parent / "recipes_data"
#: file to format, method of the outermost entry, number of checkpoints
REAL = {
    "amp-AstolfoMix-24051501-29bac1a.mecha": ("mecha", "add_difference", 2),
    "x3a-NIL-AK-25082901-3e3aea3.mecha": ("mecha", "isotropic", 4),
    "x6a-AstolfoKarMix-25060802-f758dc0.mecha": ("mecha", "weighted_sum", 7),
    "x11a-AstolfoCarmix-25082501-3e3aea3.mecha": ("mecha", "weighted_sum", 12),
    "x43-AstolfoMix-x21te0x30te1-e2e-240222-60d0764.mecha": ("mecha", "weighted_sum", 6),
    "x63-AstolfoMix-x60te0x41te1-e2e-240407-feefbf4.mecha": ("mecha", "weighted_sum", 6),
    "x72a-AstolfoMix-240421-feefbf4.mecha": ("mecha", "weighted_sum", 4),
    "x101a-AstolfoMix-24050903-4edc67c.mecha": ("mecha", "weighted_sum", 5),
    "x116a-AstolfoMix-24060702-01823a9.mecha": ("mecha", "weighted_sum", 5),
    "x215a-AstolfoMix-24101101-6e545a3.mecha": ("mecha", "weighted_sum", 5),
    "recipe-10a.json": ("a1111", "weighted_sum", 5),
    "recipe-20a.json": ("a1111", "weighted_sum", 2),
    "recipe-x39a.json": ("a1111", "weighted_sum", 2),
    "recipe-x39a-xl.json": ("a1111", "weighted_sum", 2),
    "201b-AstolfoMix-_202a_204a.recipe.txt": ("autombw", "weighted_sum", 2),
    "13b-AstolfoMix-04b05b.recipe.txt": ("autombw", "weighted_sum", 2),
    "201b-AstolfoMix-_202a_204a.csv": ("autombw", "weighted_sum", 2),
}


def inner(recipe: Recipe, *slots: str) -> Recipe:
    """The recipe in a slot of a recipe, and so on."""
    for slot in slots:
        model = recipe.models[slot]
        assert isinstance(model, Recipe)
        recipe = model
    return recipe


@pytest.mark.parametrize("name", REAL)
def test_real_recipes_are_read_and_written_as_ours(name: str) -> None:
    reading = recipes.read_file(DATA / name)
    assert (reading.format, reading.recipe.method, len(reading.recipe.files())) == REAL[name]
    assert Recipe.from_yaml(reading.recipe.to_yaml()) == reading.recipe
    assert not any("\\" in model or model.startswith(".") for model in reading.recipe.files())


def test_the_table_of_real_recipes_is_whole() -> None:
    others = {"README.md", "LICENSE", "test-1img.json"}
    assert {path.name for path in DATA.iterdir()} == REAL.keys() | others


def test_a_request_to_draw_is_no_recipe() -> None:
    with pytest.raises(BadInput, match=r"test-1img\.json.*request to draw"):
        recipes.read_file(DATA / "test-1img.json")


def test_a_header_whose_hashes_were_never_computed_is_read_by_its_order() -> None:
    """A1111 wrote null for both models; their entries stand in the order in which they were added."""
    recipe = recipes.read_file(DATA / "recipe-x39a.json").recipe
    assert recipe.models == {"a": "x38a-x36ax37a.safetensors", "b": "x35a-x29ax30a.safetensors"}
    assert (recipe.ratio, recipe.blocks, recipe.dtype) == (0.2, {"VAE": 0.2}, "fp16")
    assert recipe.hashes["x35a-x29ax30a.safetensors"].startswith("498ad85e55")


def test_the_history_in_a_header_is_a_tree_of_baked_steps() -> None:
    recipe = recipes.read_file(DATA / "recipe-10a.json").recipe
    step = inner(recipe, "a")
    assert (recipe.ratio, step.ratio, inner(step, "a", "a").ratio) == (0.2, 0.25, 0.5)
    assert step.models["b"] == "dreamshaper_8.safetensors"  # its hash is null in the header
    assert step.dtype == "fp16"  # A1111 saved every step
    flat = recipes.a1111.read({"sd_merge_recipe": {}, **_header("recipe-10a.json")}, expand=False).recipe
    assert flat.models["a"] == "04a-vcbp_mzpt_d8.safetensors"


def _header(name: str) -> dict[str, Any]:
    return json.loads((DATA / name).read_text("utf-8"))["__metadata__"]


def test_a_step_that_cannot_be_told_is_taken_as_its_file() -> None:
    header = _header("recipe-10a.json")
    third = next(entry for entry in header["sd_merge_models"].values() if entry["name"].startswith("03a"))
    third["sd_merge_recipe"]["interp_method"] = "Magic"
    reading = recipes.from_header(header)
    assert inner(reading.recipe, "a").models["a"] == third["name"]
    assert any("03a-vcbp-mzpikas_tmnd.safetensors is taken as a file" in note for note in reading.notes)


def test_supermerger_blocks_in_a_header() -> None:
    """25 values of an SD1 model: BASE is beside them and is the VAE's too."""
    recipe = recipes.read_file(DATA / "recipe-20a.json").recipe
    assert recipe.blocks is not None
    assert (recipe.blocks["BASE"], recipe.blocks["VAE"], recipe.blocks["IN02"]) == (0.0, 0.0, 0.0740740740740741)
    assert (recipe.blocks["M00"], recipe.blocks["OUT11"]) == (1.0, 0.0)


def test_supermerger_blocks_of_sdxl_in_a_header() -> None:
    """20 values with the 0 behind them that supermerger appends; the name of a model is none of a file here."""
    recipe = recipes.read_file(DATA / "recipe-x39a-xl.json").recipe
    assert recipe.blocks is not None
    assert list(recipe.blocks)[:2] == ["BASE", "IN00"] and list(recipe.blocks)[-2:] == ["OUT08", "VAE"]
    assert (recipe.blocks["M00"], recipe.blocks["OUT00"], recipe.blocks["OUT08"]) == (1.0, 0.3853, 0.3628)


def test_auto_mbw_counts_its_parts_in_two_orders() -> None:
    """The optimiser's thirteenth parameter (OUT) is the line's last but one."""
    reading = recipes.read_file(DATA / "13b-AstolfoMix-04b05b.recipe.txt")
    blocks = reading.recipe.blocks
    assert blocks is not None
    assert any("agrees" in note for note in reading.notes)
    assert (blocks["M00"], blocks["OUT00"], blocks["OUT"], blocks["TIME"], blocks["BASE"]) == (0.9, 0.0, 0.4, 0.4, 0.0)
    assert reading.recipe.output == "13b-AstolfoMix-04b05b"
    wrong = (DATA / "13b-AstolfoMix-04b05b.recipe.txt").read_text("utf-8").replace("0.9,0.0,0.1", "0.9,0.4,0.1", 1)
    assert any("differs" in note for note in recipes.read(wrong).notes)


def test_a_table_has_the_optimisers_order_and_the_best_first() -> None:
    rows = autombw.table((DATA / "201b-AstolfoMix-_202a_204a.csv").read_text("utf-8"))
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)
    plain = autombw.in_line_order(range(27))
    assert plain[:13] == tuple(range(13)) and plain[13:] == (*range(14, 26), 13, 26)
    first = next(row for row in rows if row.weights[0] == 1.0 and row.weights[1] == 0.5)
    assert (first.weights[13], first.weights[25]) == (0.6, 0.0)  # columns 14 and 13


@pytest.mark.parametrize(
    ("text", "where", "found"),
    [
        ("modelA=a\nmodelB=b\n1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22", "line 3", "22 weights"),
        ("modelA=a\nmodelO=b\n", "recipe", "no modelB"),
        ("modelA=a\nmodelB=b\n", "recipe", "no line of weights"),
        ("0,1,2,3,4,5,6,7,8,9,10,11\n1,2", "line 1", "0,1,2"),
        ("", "recipe", "models"),
        ("{", "recipe", ""),
        ("[1, 2]", "recipe", "list"),
        ('{"a": 1}', "recipe", "keys a"),
        ("method: x\nmodels: {a: b}", "recipe", "x"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_place(text: str, where: str, found: str) -> None:
    with pytest.raises(BadInput) as caught:
        recipes.read(text)
    assert where in str(caught.value) and found in str(caught.value)


def test_our_own_in_every_form() -> None:
    expected = Recipe("weighted_sum", {"a": "x", "b": "y"}, 0.5)
    texts = [
        expected.to_yaml(),
        "{method: weighted_sum, models: {a: x, b: y}, ratio: 0.5}",
        '{"method": "weighted_sum", "models": {"a": "x", "b": "y"}, "ratio": 0.5}',
        '{"__metadata__": {"astolfo.recipe": "method: weighted_sum\\nmodels: {a: x, b: y}\\nratio: 5e-1"}}',
    ]
    assert [recipes.read(text).recipe for text in texts] == [expected] * 4


def test_a_merge_by_a1111_of_our_file_keeps_our_recipe() -> None:
    """A1111 copies sd_merge_recipe and sd_merge_models of its inputs into sd_merge_models."""
    ours = Recipe("slerp", {"a": "x", "b": "y"}, 0.25, hashes={"x": "1" * 64, "y": "2" * 64})
    own = json.loads(writing.WRITERS["a1111"](ours)[0])
    top = {"type": "webui", "interp_method": "Weighted sum", "multiplier": 0.5, "save_as_half": False}
    top |= {"primary_model_hash": "3" * 64, "secondary_model_hash": "4" * 64}
    models = {"3" * 64: {"name": "m", "sd_merge_recipe": own}, "4" * 64: {"name": "z", "sd_merge_recipe": None}}
    recipe = recipes.from_header({"sd_merge_recipe": top, "sd_merge_models": models}).recipe
    assert inner(recipe, "a") == ours and recipe.dtype == "keep"
    assert recipe.all_hashes() == {"x": "1" * 64, "y": "2" * 64, "z": "4" * 64}


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.mecha"
    with pytest.raises(BadInput, match=r"x\.mecha"):
        recipes.read_file(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="UTF-8"):
        recipes.read_file(path)
    with pytest.raises(BadInput, match="format"):
        recipes.read("method: model", format="word")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("raw\\_x233-ΣΙΗ.safetensors", "raw/_x233-ΣΙΗ.safetensors"),
        ("./x101a.safetensors", "x101a.safetensors"),
        ("E:\\webui\\models\\Stable-diffusion\\sub\\01.safetensors", "sub/01.safetensors"),
        ("/home/me/models/01 x.safetensors", "01 x.safetensors"),
        ("sdxl\\sdxl-0.9.safetensors", "sdxl/sdxl-0.9.safetensors"),
        ("plain", "plain"),
    ],
)
def test_names_of_checkpoints_from_paths_of_other_machines(path: str, name: str) -> None:
    assert checkpoint_name(path) == name
