"""Cells are drawn in the order that rewrites the fewest bytes, and what that costs is known before."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.search.order import Sizes, cost, drawing_order, rewritten
from lib_astolfo.search.plan import Plan, make_plan
from lib_astolfo.search.settings import StudySettings

from .conftest import NEAR, plan_of

SIZES = Sizes({"base.safetensors": 100, "x": 1000, "y": 1000}, {"IN04": 3, "OUT08": 5, "M00": 7})


def brute(plan: Plan, sizes: Sizes) -> int:
    """The fewest bytes of all orders in which the weights can follow each other."""
    heads = list({plan.weights_key(cell): cell for cell in plan.cells}.values())
    return min(rewritten(plan, order, sizes) for order in itertools.permutations(heads))


@pytest.mark.parametrize(
    "axes",
    [
        {"ratio": [0, 0.5, 1], "cfg": [2, 4]},
        {"ratio": [0, 0.5, 1], "model_b": ["x", "y"]},
        {"model_a": ["x", "y"], "ratio": [0, 0.5, 1]},
        {"ratio": [0.5, 1], "model_a": ["x", "y"], "model_b": ["x", "y"][:1]},
        {"ratio": [0.5], "blocks": ["IN04:0.5", "OUT08:0.5", "M00:0.5", "IN04:0.5,M00:0.5"]},
    ],
)
def test_no_other_order_rewrites_fewer_bytes(axes: dict[str, Any]) -> None:
    plan = plan_of(axes)
    order = drawing_order(plan, SIZES)
    assert sorted(cell.index for cell in order) == list(range(len(plan.cells)))
    found = rewritten(plan, order, SIZES)
    assert found == cost(plan, SIZES).rewritten
    if "blocks" not in axes:
        assert found == brute(plan, SIZES)
    assert found <= rewritten(plan, plan.cells, SIZES)


def test_bases_are_loaded_once_each() -> None:
    found = cost(plan_of({"ratio": [0, 0.5, 1], "model_a": ["x", "y"], "cfg": [1, 4]}, pictures=8, steps=10), SIZES)
    assert (found.cells, found.loads, found.merges, found.pictures) == (12, 2, 6, 96)
    assert found.calls == 6 * 8 * 10 * (1 + 2), "one call a step without guidance, two with it"
    words = found.describe(0.5)
    assert "12 cells, 96 pictures" in words
    assert "2 checkpoints loaded" in words
    assert "no checkpoint file is written" in words


def test_snapshots_and_loras_become_loras_of_the_recipe() -> None:
    def of(**given: Any) -> Plan:
        settings = StudySettings(**{"prompts": ["x"], "models": {"a": "base"}, **given})
        return make_plan(settings, {"near": NEAR}, sampling=Sampling("v"))

    plan = of(axes={"snapshot": ["s1", "s2"], "ratio": [0.5, 1]}, lora="style", lora_weight=0.3)
    recipes = [plan.recipe(cell) for cell in plan.cells]
    uses = [[(use.file, use.weight) for use in recipe.loras] for recipe in recipes if recipe]
    assert uses[0] == [("s1", 0.5), ("style", 0.3)]
    assert uses[-1] == [("s2", 1.0), ("style", 0.3)]
    assert {recipe.method for recipe in recipes if recipe} == {"lora"}
    by_block = of(axes={"blocks": ["IN04:0.5"]}, snapshot="s1", ratio=0.8)
    recipe = by_block.recipe(by_block.cells[0])
    assert recipe is not None
    assert recipe.loras[0].strength("unet", "IN04") == 0.5
    assert recipe.loras[0].strength("unet", "OUT08") == 0.8
    weights = of(axes={"lora_weight": [0, 1]}, lora="style")
    assert [r.loras[0].weight for cell in weights.cells if (r := weights.recipe(cell))] == [0.0, 1.0]


def test_the_uncond_axes_work_together() -> None:
    plan = plan_of({"uncond_weight": [0, 0.7], "uncond_range": ["0.2-0.9"]}, ratio=0.5)
    request = plan.requests(plan.cells[1])[0]
    assert request.uncond.describe() == "average 0.7, 20-90 %"
    with pytest.raises(BadInput, match="average"):
        plan_of({"uncond": ["zero"], "uncond_weight": [0.5]})
    with pytest.raises(BadInput, match="uncond_range"):
        plan_of({"uncond": ["host"], "uncond_range": ["0.2-0.9"]})


@pytest.mark.parametrize(
    ("axes", "more", "where"),
    [
        ({"ratio": [0, 1], "snapshot": ["s"]}, {}, "snapshot"),
        ({"lora_weight": [0, 1]}, {}, "lora"),
        ({"ratio": [0, 1], "cfg": [1, 2], "steps": [4, 8], "seed": [1, 2], "shift": [1, 3]}, {}, "axes"),
        ({"scheduler": ["karras"], "schedule": ["karras"]}, {}, "axes"),
        ({"blocks": ["IN99:1"]}, {}, "blocks"),
    ],
)
def test_refused(axes: dict[str, Any], more: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        plan_of(axes, **more)
    assert where in caught.value.where
