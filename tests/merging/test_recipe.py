"""Recipes: YAML both ways, nesting, and every way of getting one wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.checkpoints.blocks import BLOCKS
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import methods
from lib_astolfo.merging.method import Method
from lib_astolfo.merging.recipe import Recipe, read_blocks

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


FULL = """
method: add_difference
models: {a: base, b: tuned, c: base}
ratio: 0.5
blocks: {IN03-OUT05: 0.7, IN04.1.0: 0.2, TIME: 0.0, VAE: 1}
elements: |
  OUT03 OUT04:attn2:0.5, not base:NOT attn proj:-1
  ::0.25
patterns: {'attn\\d\\.to_q\\.weight$': 0.4, first_stage_model: 0.1}
adjust: 1,2,0,4
"""


def test_every_kind_of_ratio_both_ways() -> None:
    recipe = Recipe.from_yaml(FULL)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.blocks == {"IN03-OUT05": 0.7, "IN04.1.0": 0.2, "TIME": 0.0, "VAE": 1}
    assert recipe.elements == ("OUT03 OUT04:attn2:0.5", "NOT BASE:NOT attn proj:-1", "::0.25")
    assert recipe.patterns == {r"attn\d\.to_q\.weight$": 0.4, "first_stage_model": 0.1}
    assert recipe.adjust == (1.0, 2.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0)
    assert "\n" not in recipe.describe()
    for said in ("IN04.1.0:0.2", "NOT BASE:NOT attn proj:-1", "first_stage_model: 0.1", "adjust=1/2/0/4"):
        assert said in recipe.describe()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("IN03-OUT05:0.7, m00:0.2", {"IN03-OUT05": 0.7, "M00": 0.2}),
        ("IN00:1\nVAE:0.5\n", {"IN00": 1.0, "VAE": 0.5}),
        ({"preset": "ALL_A", "VAE": 0.5}, {**dict.fromkeys(BLOCKS["sd1"], 0.0), "VAE": 0.5}),
    ],
)
def test_blocks_in_words(text: object, found: dict[str, float]) -> None:
    assert read_blocks(text) == found


def test_a_ratio_per_model() -> None:
    data = {"method": "delta", "models": {"base": "o", "a": "x", "b": "y"}, "ratio": {"b": 0.5}}
    with methods_plus(Method("delta", torch.add, ("a", "b"), space="delta", many=True)):
        recipe = Recipe.from_dict(data)
        assert Recipe.from_yaml(recipe.to_yaml()) == recipe
        assert recipe.describe() == "delta(base=o, a=x, b=y, ratio=b:0.5)"
        for ratio, where in (({"c": 1}, "ratio.c"), ({"base": 1}, "ratio.base"), ({"b": "x"}, "ratio.b")):
            with pytest.raises(BadInput) as error:
                Recipe.from_dict({**data, "ratio": ratio})
            assert error.value.where == where
    with pytest.raises(BadInput, match="no weight per model"):
        Recipe.from_dict({**PLAIN, "ratio": {"b": 1}})


def test_options_per_block() -> None:
    method = Method("two", torch.add, ("a", "b"), {"alpha": 0.5, "beta": 0.5, "way": "in"}, {"way": ("in", "out")})
    with methods_plus(method):
        recipe = Recipe.from_dict({**PLAIN, "method": "two", "options": {"beta": {"in00": 0.2, "M00-OUT08": 1}}})
        assert recipe.options == {"beta": {"IN00": 0.2, "M00-OUT08": 1}}
        assert Recipe.from_yaml(recipe.to_yaml()) == recipe
        listed = Recipe.from_dict({**PLAIN, "method": "two", "options": {"beta": [0.5] * 26}})
        assert listed.options["beta"] == dict.fromkeys(BLOCKS["sd1"], 0.5)
        for options, where in (
            ({"beta": {"IN99": 1}}, "options.beta.IN99"),
            ({"beta": {"IN00": float("nan")}}, "options.beta.IN00"),
            ({"way": {"IN00": 1}}, "two.way"),
            ({"gamma": {"IN00": 1}}, "two.gamma"),
        ):
            with pytest.raises(BadInput) as error:
                Recipe.from_dict({**PLAIN, "method": "two", "options": options})
            assert error.value.where == where


@contextmanager
def methods_plus(method: Method) -> Iterator[None]:
    methods.METHODS[method.name] = method
    try:
        yield
    finally:
        del methods.METHODS[method.name]


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
        ({"blocks": [1.0] * 22}, "recipe.blocks"),
        ({"blocks": 7}, "recipe.blocks"),
        ({"blocks": {"IN03-OUT12": 1}}, "blocks.IN03-OUT12"),
        ({"blocks": {"IN03.1.0.2": 1}}, "blocks.IN03.1.0.2"),
        ({"blocks": {"preset": "NONE"}}, "recipe.blocks.preset"),
        ({"blocks": "IN00:x"}, "recipe.blocks.IN00"),
        ({"elements": 7}, "recipe.elements"),
        ({"elements": "OUT03:attn"}, "recipe.elements"),
        ({"elements": "OUT03:attn:x"}, "recipe.elements: OUT03:attn:x"),
        ({"elements": ["IN99:attn:1"]}, "recipe.elements: IN99:attn:1.IN99"),
        ({"patterns": ["x"]}, "recipe.patterns"),
        ({"patterns": {"(": 1}}, "patterns.("),
        ({"patterns": {"": 1}}, "patterns"),
        ({"patterns": {"x": float("inf")}}, "patterns.x"),
        ({"adjust": [1] * 9}, "recipe.adjust"),
        ({"adjust": "1,x"}, "recipe.adjust.OUT"),
        ({"adjust": {"COL4": 1}}, "recipe.adjust.COL4"),
        ({"method": "model", "models": {"a": "x"}}, "ratio"),
        ({"method": "model", "models": {"a": "x"}, "ratio": None, "elements": "::1"}, "elements"),
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
