"""Which ratio every key has: blocks, parts, ranges, elements and patterns over full-size key lists."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from lib_astolfo.checkpoints import presets
from lib_astolfo.checkpoints.blocks import BLOCKS, block_of
from lib_astolfo.checkpoints.extended import NAMES
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.ratios import Ratios
from lib_astolfo.merging.recipe import Recipe
from tests.keylists import full_size

SD1, SDXL = Layout("sd1"), Layout("sdxl", context_dim=2048, vector_dim=2816)
UNET = "model.diffusion_model."
MODELS = {"a": "a", "b": "b"}


def recipe(**keys: Any) -> Recipe:
    return Recipe.from_dict({"method": "weighted_sum", "models": MODELS, **keys})


def of_all(layout: Layout, **keys: Any) -> dict[str, float | None]:
    """key -> ratio for every key of a full-size checkpoint."""
    ratios = Ratios(recipe(**keys), layout)
    return {key: ratios.of(key) for key in full_size(layout.family)}


def changed(layout: Layout, entries: str | list[str], ratio: float = 0.25) -> dict[str, float]:
    """The keys whose ratio elements change."""
    found = of_all(layout, ratio=ratio, elements=entries).items()
    return {key: value for key, value in found if value not in (None, ratio)}


@pytest.mark.parametrize("layout", [SD1, SDXL], ids=["sd1", "sdxl"])
def test_one_ratio_reaches_all_but_the_vae(layout: Layout) -> None:
    for key, value in of_all(layout, ratio=0.3).items():
        assert value == (None if key.startswith("first_stage_model.") else 0.3), key


@pytest.mark.parametrize(("layout", "count"), [(SD1, 26), (SDXL, 20), (SD1, 27), (SDXL, 21)])
def test_lists_with_and_without_the_vae(layout: Layout, count: int) -> None:
    numbers = [(i + 1) / 100 for i in range(count)]
    expected = dict(zip((*BLOCKS[layout.family], "VAE"), numbers, strict=False))
    for key, value in of_all(layout, blocks=numbers).items():
        assert value == expected.get(block_of(key, layout)), key


def test_26_numbers_on_sdxl_are_cut_as_supermerger_does() -> None:
    """supermerger's weighttoxl on the 25 after BASE: [:9] + [12:22]."""
    numbers = [i / 100 for i in range(26)]
    cut = [numbers[0], *numbers[1:][:9], *numbers[1:][12:22]]
    assert of_all(SDXL, blocks=numbers) == of_all(SDXL, blocks=cut)


def test_20_numbers_do_not_fit_sd1() -> None:
    with pytest.raises(BadInput, match="26"):
        Ratios(recipe(blocks=[0.5] * 20), SD1)


def test_a_preset_with_exceptions() -> None:
    found = of_all(SD1, blocks={"preset": "grad-v", "VAE": 0.5, "M00": 0.9})
    expected = {**dict(zip(BLOCKS["sd1"], presets.CURVE_PRESETS["GRAD_V"], strict=True)), "VAE": 0.5, "M00": 0.9}
    assert all(value == expected[block_of(key, SD1)] for key, value in found.items())


@pytest.mark.parametrize("text", ["IN03-OUT05:0.7", "OUT05-IN03: 0.7", {"in03 - out05": 0.7}])
@pytest.mark.parametrize("layout", [SD1, SDXL], ids=["sd1", "sdxl"])
def test_ranges_run_through_the_layouts_own_order(layout: Layout, text: object) -> None:
    names = BLOCKS[layout.family]
    inside = names[names.index("IN03") : names.index("OUT05") + 1]
    for key, value in of_all(layout, blocks=text, ratio=0.1).items():
        block = block_of(key, layout)
        assert value == (None if block == "VAE" else 0.7 if block in inside else 0.1), key


def test_the_more_precise_name_counts_and_the_later_range() -> None:
    blocks = {"IN04": 0.2, "IN04.1.0": 0.4, "IN04.1": 0.3, "BASE-OUT08": 0.6, "IN03-IN05": 0.7}
    ratios = Ratios(recipe(blocks=blocks), SDXL)
    inside = f"{UNET}input_blocks.4."
    assert ratios.of(f"{inside}0.in_layers.0.weight") == 0.2
    assert ratios.of(f"{inside}1.proj_in.weight") == 0.3
    assert ratios.of(f"{inside}1.transformer_blocks.0.norm1.weight") == 0.4
    assert ratios.of(f"{inside}1.transformer_blocks.1.norm1.weight") == 0.3
    assert ratios.of(f"{UNET}input_blocks.5.0.in_layers.0.weight") == 0.7
    assert ratios.of(f"{UNET}out.0.weight") == 0.6


def test_supermergers_110_numbers() -> None:
    """Every key has the number that stands at supermerger's own index for it (``blockfromkey``, ``BLOCKIDXLLL``)."""
    numbers = [i / 1000 for i in range(110)]
    found = of_all(SDXL, blocks=numbers)
    at = {name: i / 1000 for i, name in enumerate(NAMES)}
    assert found["conditioner.embedders.0.transformer.text_model.final_layer_norm.bias"] == at["CLIPL"]
    assert found["conditioner.embedders.1.model.ln_final.weight"] == at["CLIPG"]
    assert found[f"{UNET}input_blocks.0.0.weight"] == at["IN00"]
    assert found[f"{UNET}input_blocks.4.1.proj_in.weight"] == at["IN41"]
    assert found[f"{UNET}input_blocks.8.1.transformer_blocks.9.norm3.bias"] == at["IN819"]
    assert found[f"{UNET}middle_block.1.norm.weight"] == at["MID10"]
    assert found[f"{UNET}middle_block.1.transformer_blocks.7.attn1.to_q.weight"] == at["MID107"]
    assert found[f"{UNET}middle_block.2.out_layers.0.bias"] == at["MID20"]
    assert found[f"{UNET}output_blocks.2.2.conv.weight"] == at["OUT22"]
    assert found[f"{UNET}output_blocks.5.1.transformer_blocks.1.ff.net.2.bias"] == at["OUT511"]
    assert found[f"{UNET}out.2.bias"] == at["OUT9"]
    assert found[f"{UNET}time_embed.2.bias"] == at["TIME"]
    assert found[f"{UNET}label_emb.0.0.weight"] == at["LABEL"]
    assert {value for key, value in found.items() if key.startswith("first_stage_model.")} == {at["VAE"]}
    assert set(found.values()) == set(numbers) - {at["IN0"]}
    with pytest.raises(BadInput, match="sd1"):
        Ratios(recipe(blocks=numbers), SD1)


def test_elements_as_supermerger_documents_them() -> None:
    found = changed(SD1, "OUT03 OUT04 OUT05:attn2 attn1.to_out:0.5")
    parts = ("attn2", "attn1.to_out")
    assert found
    for key in full_size("sd1"):
        meant = block_of(key, SD1) in ("OUT03", "OUT04", "OUT05") and any(part in key for part in parts)
        assert (key in found) == meant, key
    found = changed(SD1, "OUT06:attn:0.5,OUT06:attn2.to_k:0.2")
    assert Counter(found.values()) == {0.5: 9, 0.2: 1}
    assert found[f"{UNET}output_blocks.6.1.transformer_blocks.0.attn2.to_k.weight"] == 0.2


@pytest.mark.parametrize("layout", [SD1, SDXL], ids=["sd1", "sdxl"])
def test_not_turns_blocks_and_elements_round(layout: Layout) -> None:
    keys = [key for key in full_size(layout.family) if not key.startswith("first_stage_model.")]
    blocks = {key: block_of(key, layout) for key in keys}
    assert set(changed(layout, "NOT OUT04:attn:1")) == {k for k in keys if blocks[k] != "OUT04" and "attn" in k}
    assert set(changed(layout, "OUT05:NOT attn proj:0.2")) == {
        k for k in keys if blocks[k] == "OUT05" and "attn" not in k and "proj" not in k
    }
    assert set(changed(layout, "::0.5")) == set(changed(layout, "NOT:NOT:0.5")) == set(keys)


def test_elements_of_sdxl_reach_the_block_they_name() -> None:
    """In supermerger ``OUT03::1`` does nothing on SDXL and ``OUT00::1`` changes OUT03 (its issue 468)."""
    for name in BLOCKS["sdxl"]:
        assert {block_of(key, SDXL) for key in changed(SDXL, f"{name}::1")} == {name}
    inside = {block_of(key, SDXL) for key in changed(SDXL, "IN08-OUT01::1")}
    assert inside == {"IN08", "M00", "OUT00", "OUT01"}
    with pytest.raises(BadInput, match="a block that sdxl does not have"):
        Ratios(recipe(ratio=0.5, elements="OUT09::1"), SDXL)


def test_the_vae_and_projections_of_sdxl_that_supermerger_gets_wrong() -> None:
    """There the VAE is merged with BASE, and keys without weight or bias in their name not at all."""
    found = of_all(SDXL, blocks={"BASE": 0.5})
    assert found["conditioner.embedders.1.model.text_projection"] == 0.5
    assert found["conditioner.embedders.1.model.positional_embedding"] == 0.5
    assert found["first_stage_model.decoder.conv_in.bias"] is None
    assert not {key for key in changed(SDXL, ":attn:1") if key.startswith("first_stage_model.")}
    vae = {key for key in full_size("sdxl") if key.startswith("first_stage_model.")}
    assert {key for key, value in of_all(SDXL, ratio=0.5, elements="VAE::1").items() if value == 1} == vae


def test_patterns_go_before_all_and_the_later_before_the_earlier() -> None:
    keys: dict[str, Any] = {"ratio": 0.1, "blocks": {"M00": 0.2}, "elements": "M00:attn1:0.3"}
    ratios = Ratios(recipe(**keys, patterns={r"attn1\.to_[qk]": 0.4, r"to_q\.weight$": 0.5}), SDXL)
    middle = f"{UNET}middle_block.1.transformer_blocks.0."
    assert ratios.of(f"{UNET}out.2.bias") == 0.1
    assert ratios.of(f"{middle}norm1.bias") == 0.2
    assert ratios.of(f"{middle}attn1.to_v.weight") == 0.3
    assert ratios.of(f"{middle}attn1.to_k.weight") == 0.4
    assert ratios.of(f"{middle}attn1.to_q.weight") == 0.5
    assert ratios.unused() == []


def test_patterns_reach_the_vae_only_by_its_name() -> None:
    key = "first_stage_model.decoder.mid.attn_1.q.weight"
    assert Ratios(recipe(ratio=0.1, patterns={"attn": 1, ".*": 1}), SD1).of(key) is None
    assert Ratios(recipe(ratio=0.1, patterns={r"^first_stage_model\.decoder": 1}), SD1).of(key) == 1


def test_what_reaches_no_key_is_said() -> None:
    keys = {"elements": ["IN03:attn1:1", "IN01:attn9:1"], "patterns": {"attn7": 1}, "blocks": {"IN03.7": 1}}
    ratios = Ratios(recipe(ratio=0, **keys), SD1)
    for key in full_size("sd1"):
        ratios.of(key)
    assert ratios.unused() == ["blocks: IN03.7", "elements: IN03:attn1:1", "elements: IN01:attn9:1", "patterns: attn7"]


@pytest.mark.parametrize(
    ("layout", "keys", "where"),
    [
        (SDXL, {"blocks": {"IN09": 1}}, "blocks.IN09"),
        (SDXL, {"blocks": {"IN03-IN11": 1}}, "blocks.IN03-IN11"),
        (SDXL, {"blocks": {"OUT10.1": 1}}, "blocks.OUT10.1"),
        (SD1, {"blocks": {"CLIPG": 1}}, "blocks.CLIPG"),
        (SD1, {"blocks": {"LABEL": 1}}, "blocks.LABEL"),
        (SDXL, {"elements": "IN01 IN10:attn:1"}, "elements: IN01 IN10:attn:1.IN10"),
    ],
)
def test_blocks_that_the_layout_lacks_are_named(layout: Layout, keys: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as error:
        Ratios(recipe(ratio=0.5, **keys), layout)
    assert error.value.where == where
