"""A recipe as one line: it reads back to the same recipe, and what is no recipe is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.line import from_line, to_line
from lib_astolfo.merging.recipe import Recipe

PAIR = {"a": "base model.safetensors", "b": "folder/訓練, 0.8: {x}.safetensors"}
INNER = Recipe("add_difference", {"a": "a", "b": "b", "c": "c"}, 0.1)
RECIPES: dict[str, Recipe] = {
    "plain": Recipe("weighted_sum", PAIR, 0.85),
    "blocks": Recipe("weighted_sum", PAIR, blocks={"BASE": 0.0, "IN00": 0.123456789, "VAE": 1.0}, dtype="keep"),
    "nested": Recipe("weighted_sum", {"a": INNER, "b": "d"}, 0.5),
    "options": Recipe("weighted_sum", PAIR, 1e-7, options={"prediction": {"prediction": "rf", "shift": 3.0}}),
    "hashes": Recipe("weighted_sum", PAIR, -2, hashes={PAIR["b"]: "0123456789"}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_line_reads_back(name: str) -> None:
    line = to_line(RECIPES[name])
    assert "\n" not in line and line.startswith("{method: ")
    assert from_line(line) == RECIPES[name]
    assert to_line(from_line(line)) == line


def test_where_it_was_to_be_written_is_left_out() -> None:
    asked = Recipe("weighted_sum", PAIR, 0.5, output="merged")
    assert "merged" not in to_line(asked)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("weighted_sum(a=x, b=y, ratio=0.5)", "merge"),
        ("", "merge"),
        ("{method: weighted_sum", "merge"),
        ("{method: weighted_sum, models: {a: x, b: y}, ratio: .nan}", "merge.ratio"),
        ("{method: nothing, models: {a: x}}", "merge.method"),
        ("{method: weighted_sum, models: {a: x, b: y}, ratio: 0.5, colour: red}", "merge.colour"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_place(text: str, where: Any) -> None:
    with pytest.raises(BadInput) as caught:
        from_line(text)
    assert caught.value.where == where
