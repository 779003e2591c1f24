"""LoRAs as a recipe names them."""

from __future__ import annotations

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.lora.use import LoraUse, read_factors, read_uses
from lib_astolfo.merging.recipe import Recipe


def test_strength_by_part_and_block() -> None:
    use = LoraUse("x", 0.8, 0.5, {"IN04": 0.25, "BASE": 2.0})
    assert use.strength("unet", "IN04") == pytest.approx(0.2)
    assert use.strength("unet", "M00") == pytest.approx(0.8)
    assert use.strength("te1", "BASE") == use.strength("te2", "BASE") == pytest.approx(1.0)
    assert LoraUse("x", 0.8).strength("te1", "BASE") == pytest.approx(0.8)


def test_recipes_say_loras_and_read_them_back() -> None:
    data = {
        "method": "weighted_sum",
        "models": {"a": "a", "b": "b"},
        "ratio": 0.5,
        "loras": ["plain", {"file": "x", "weight": 0.7, "te_weight": 0, "blocks": {"in04": 0.5}, "rs_lora": True}],
    }
    recipe = Recipe.from_dict(data)
    assert recipe.loras == (LoraUse("plain"), LoraUse("x", 0.7, 0, {"IN04": 0.5}, True))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    outer = Recipe("lora", {"a": recipe}, loras=(LoraUse("y"),))
    assert outer.lora_files() == ("plain", "x", "y") and outer.files() == ("a", "b")
    assert "lora=x:0.7:0 by block" in recipe.describe()


def test_lists_of_lora_block_weight() -> None:
    """sd-webui-lora-block-weight: 17 values for SD1, 12 for SDXL; blocks without a value are 0 there."""
    seventeen = read_factors([1, *(0.1 * i for i in range(1, 17))])
    assert (seventeen["BASE"], seventeen["IN01"], seventeen["IN00"]) == (1, pytest.approx(0.1), 0)
    assert (seventeen["OUT03"], seventeen["OUT11"]) == (pytest.approx(0.8), pytest.approx(1.6))
    twelve = read_factors("1,0,0,0,0,0.5,0,0,0,0,0,0.25")
    assert (twelve["M00"], twelve["OUT05"], twelve["IN08"], len(twelve)) == (0.5, 0.25, 0, 20)
    assert len(read_factors([1] * 20)) == 20 and len(read_factors([1] * 26)) == 26
    assert read_factors("ALL_B")["M00"] == 1


@pytest.mark.parametrize(("value", "where"), [
    ([{"weight": 1}], "loras[0].file"),
    ([{"file": "x", "wieght": 1}], "loras[0].wieght"),
    ([{"file": "x", "weight": "a"}], "loras[0].weight"),
    ([{"file": "x", "weight": float("nan")}], "loras[0].weight"),
    ([{"file": "x", "te_weight": True}], "loras[0].te_weight"),
    (["y", {"file": "x", "blocks": {"IN99": 1}}], "loras[1].blocks.IN99"),
    ([{"file": "x", "blocks": {"VAE": 1}}], "loras[0].blocks.VAE"),
    ([{"file": "x", "blocks": [1, 2, 3]}], "loras[0].blocks"),
    ([{"file": "x", "rs_lora": 1}], "loras[0].rs_lora"),
    ([3], "loras[0]"),
    (7, "loras"),
])  # fmt: skip
def test_bad_entries_name_the_key(value: object, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_uses(value)
    assert caught.value.where == where


def test_recipes_that_cannot_be() -> None:
    with pytest.raises(BadInput, match="loras: found nothing"):
        Recipe("lora", {"a": "a"})
    with pytest.raises(BadInput, match="among the recipe's checkpoints"):
        Recipe("lora", {"a": "a"}, loras=(LoraUse("a"),))
