"""Recipes: YAML both ways, nesting, and every way of getting one wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import Recipe

PLAIN: dict[str, Any] = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.85}
NESTED = """
method: weighted_sum
models:
  a: ベース model.safetensors
  b:
    method: add_difference
    models: {a: Αστολφο, b: tuned, c: ベース model.safetensors}
    ratio: 1.0
blocks: {BASE: 0.5, IN00: 1.0}
ratio: 0.3
options: {non_finite: keep_a, prediction: {prediction: v, zero_terminal_snr: true}}
dtype: keep
output: out.safetensors
hashes: {tuned: "0123456789ab"}
"""


def test_yaml_both_ways() -> None:
    recipe = Recipe.from_yaml(NESTED)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.files() == ("ベース model.safetensors", "Αστολφο", "tuned")
    assert recipe.all_hashes() == {"tuned": "0123456789ab"}
    inner = recipe.models["b"]
    assert isinstance(inner, Recipe)
    assert (recipe.dtype, inner.dtype) == ("keep", "fp32")


def test_the_plainest_recipe() -> None:
    recipe = Recipe.from_dict(PLAIN)
    assert (recipe.ratio, recipe.blocks, recipe.dtype, recipe.output) == (0.85, None, "fp16", None)
    assert recipe.with_ratio(0.5).ratio == 0.5
    assert recipe.describe() == "weighted_sum(a=base, b=trained, ratio=0.85)"


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "名前 recipe.yaml"
    path.write_text("method: weighted_sum\nmodels: {a: x, b: y}\nratio: 0.5\n", encoding="utf-8")
    assert Recipe.load(path).files() == ("x", "y")
    path.write_text("method: [", encoding="utf-8")
    with pytest.raises(BadInput, match=r"名前 recipe\.yaml"):
        Recipe.load(path)
    with pytest.raises(BadInput, match=r"missing\.yaml"):
        Recipe.load(tmp_path / "missing.yaml")


@pytest.mark.parametrize("count", [20, 26])
def test_lists_and_texts_of_numbers(count: int) -> None:
    numbers = [i / 100 for i in range(count)]
    listed = Recipe.from_dict({**PLAIN, "ratio": None, "blocks": numbers}).blocks
    pasted = Recipe.from_dict({**PLAIN, "ratio": None, "blocks": ", ".join(map(str, numbers))}).blocks
    assert listed == pasted
    assert listed is not None
    assert list(listed)[:2] == ["BASE", "IN00"]
    assert list(listed)[-1] == ("OUT08" if count == 20 else "OUT11")
    assert list(listed.values()) == numbers


def test_a_preset_is_a_list() -> None:
    blocks = Recipe.from_dict({**PLAIN, "ratio": None, "blocks": "GRAD_V"}).blocks
    assert blocks is not None
    assert len(blocks) == 26


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"method": "nonsense"}, "method"),
        ({"mothod": 1}, "recipe.mothod"),
        ({"models": ["x"]}, "recipe.models"),
        ({"models": {"a": "x"}}, "models.b"),
        ({"models": {"a": "x", "b": ""}}, "models.b"),
        ({"models": {"a": "x", "b": 3}}, "models.b"),
        ({"models": {"a": "x", "b": "y", "c": "z"}}, "models.c"),
        ({"ratio": None}, "ratio"),
        ({"ratio": float("nan")}, "ratio"),
        ({"ratio": float("inf")}, "ratio"),
        ({"ratio": "0.5"}, "ratio"),
        ({"ratio": True}, "ratio"),
        ({"blocks": {"IN12": 1}}, "blocks.IN12"),
        ({"blocks": {"IN00": float("nan")}}, "blocks.IN00"),
        ({"blocks": {"IN00": None}}, "blocks.IN00"),
        ({"blocks": [1.0] * 21}, "recipe.blocks"),
        ({"blocks": 7}, "recipe.blocks"),
        ({"options": {"alpha": 1}}, "options.alpha"),
        ({"options": {"beta": 1}}, "weighted_sum.beta"),
        ({"options": {"non_finite": "ignore"}}, "options.non_finite"),
        ({"options": {"prediction": "d"}}, "options.prediction"),
        ({"options": [1]}, "recipe.options"),
        ({"dtype": "fp8"}, "dtype"),
        ({"output": " "}, "output"),
        ({"hashes": {"other": "0123456789"}}, "hashes.other"),
        ({"hashes": {"base": "xyz"}}, "hashes.base"),
        ({"models": {"a": "x", "b": {**PLAIN, "options": {"layout": "any"}}}}, "models.b.options.layout"),
    ],
)
def test_bad_recipes_name_the_key(change: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as error:
        Recipe.from_dict({**PLAIN, **change})
    assert error.value.where == where


def test_cycles_are_refused() -> None:
    inner: dict[str, Any] = {"method": "weighted_sum", "models": {"a": "x"}, "ratio": 1.0}
    inner["models"]["b"] = inner
    with pytest.raises(BadInput, match="contains itself"):
        Recipe.from_dict(inner)
    with pytest.raises(BadInput):
        Recipe.from_yaml("&r\nmethod: weighted_sum\nratio: 1.0\nmodels: {a: x, b: *r}\n")


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b", "method: a\nmethod: b", "{", "a: ${nowhere"])
def test_text_that_is_no_recipe(text: str) -> None:
    with pytest.raises(BadInput):
        Recipe.from_yaml(text)
