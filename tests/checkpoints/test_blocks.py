"""Which key is in which block, and the lists of weights people bring."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lib_astolfo.checkpoints import presets
from lib_astolfo.checkpoints.blocks import (
    BLOCKS,
    COMPONENTS,
    block_of,
    component_of,
    has_part,
    parse_weights,
    parts_of,
    to_xl,
)
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.errors import BadInput
from tests.keylists import full_size

SD1, SDXL = Layout("sd1"), Layout("sdxl", context_dim=2048, vector_dim=2816)


def test_names_and_order() -> None:
    assert len(BLOCKS["sd1"]) == len(BLOCKS["sd2"]) == 26
    assert len(BLOCKS["sdxl"]) == 20
    assert BLOCKS["sdxl"][:2] == ("BASE", "IN00")
    assert BLOCKS["sdxl"][10:12] == ("M00", "OUT00")
    assert BLOCKS["sd1"][-1] == "OUT11"


@pytest.mark.parametrize("family", BLOCKS)
def test_every_key_of_every_family_has_a_block(family: str) -> None:
    found = Counter(block_of(key, Layout(family)) for key in full_size(family))
    assert set(found) == {*BLOCKS[family], "VAE"}
    assert found["VAE"] == 248


def test_blocks_of_the_published_sdxl() -> None:
    """Counted in the key list by hand of grep; guards against keys that wander to a neighbour."""
    found = Counter(block_of(key, SDXL) for key in full_size("sdxl"))
    assert found["BASE"] == 587
    assert found["M00"] == 226
    assert found["IN07"] == 218
    assert found["OUT08"] == 12 + 4
    assert found["IN00"] == 2 + 4 + 4


@pytest.mark.parametrize(
    ("key", "block"),
    [
        ("model.diffusion_model.input_blocks.1.0.in_layers.0.weight", "IN01"),
        ("model.diffusion_model.input_blocks.10.0.in_layers.0.weight", "IN10"),
        ("model.diffusion_model.middle_block.2.in_layers.0.weight", "M00"),
        ("model.diffusion_model.out.2.bias", "OUT11"),
        ("model.diffusion_model.output_blocks.0.0.in_layers.0.weight", "OUT00"),
        ("model.diffusion_model.time_embed.0.weight", "IN00"),
        ("cond_stage_model.transformer.text_model.embeddings.position_ids", "BASE"),
        ("first_stage_model.decoder.conv_in.bias", "VAE"),
        ("model_ema.decay", "OTHER"),
        ("v_pred", "OTHER"),
        ("denoiser.sigmas", "OTHER"),
        ("model.diffusion_model.input_blocks.12.0.x", "OTHER"),
        ("model.diffusion_model.something.0.x", "OTHER"),
    ],
)
def test_single_keys(key: str, block: str) -> None:
    assert block_of(key, SD1) == block


def test_time_and_label_embeddings_follow_the_flag() -> None:
    for key in ("model.diffusion_model.time_embed.2.bias", "model.diffusion_model.label_emb.0.2.bias"):
        assert block_of(key, SDXL) == "IN00"
        assert block_of(key, SDXL, time_embed="base") == "BASE"
    with pytest.raises(BadInput, match="time_embed"):
        block_of("v_pred", SDXL, time_embed="in01")


def test_components() -> None:
    found = Counter(component_of(key) for key in full_size("sdxl"))
    assert found == {"unet": 1680, "te1": 197, "te2": 390, "vae": 248}
    assert component_of("ztsnr") == "other"
    assert set(found) < set(COMPONENTS)


def test_weights_as_list_text_mapping_and_preset() -> None:
    numbers = [i / 19 for i in range(20)]
    assert list(parse_weights(numbers, SDXL).values()) == numbers
    text = ", ".join(str(n) for n in numbers)
    assert parse_weights(text, SDXL) == parse_weights(numbers, SDXL)
    assert parse_weights({"IN00": 1, "VAE": 0.5}, SDXL) == {"IN00": 1.0, "VAE": 0.5}
    assert list(parse_weights("grad_v", SD1).values()) == list(presets.load()["GRAD_V"])


def test_26_values_become_20_as_supermerger_does() -> None:
    weights = dict(zip(BLOCKS["sd1"], map(float, range(26)), strict=True))
    expected = {name: weights[name] for name in BLOCKS["sdxl"]}
    assert parse_weights(list(weights.values()), SDXL) == expected
    assert len(to_xl(list(range(26)))) == 20
    assert parse_weights([*weights.values(), 0.5], SDXL) == {**expected, "VAE": 0.5}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0] * 25, "25 numbers"),
        ([1.0] * 28, "28 numbers"),
        ([1.0] * 110, "110 numbers"),
        ("1,2,3", "3 numbers"),
        ("", "0 numbers"),
        ([float("nan")] * 26, "finite"),
        (",".join(["nan"] * 26), "finite"),
        ([1.0] * 25 + [True], "a number"),
        ([1.0] * 25 + [None], "a number"),
        ("NO_SUCH_PRESET", "preset"),
        ("1,2,R", "preset"),
        ({"IN12": 1.0}, "unknown block"),
        ({"IN00": "x"}, "a number"),
        ({"IN00": 10**400}, "a number"),
        (5, "a list of numbers"),
        ({"OTHER": 1.0}, "unknown block"),
    ],
)
def test_bad_weights_are_refused(value: object, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        parse_weights(value, SD1)  # type: ignore[arg-type]
    assert caught.value.where.startswith("blocks")


def test_a_number_of_a_block_beyond_reason_is_another_key() -> None:
    assert block_of(f"model.diffusion_model.output_blocks.{'9' * 5000}.0.x", SD1) == "OTHER"


def test_a_list_of_20_does_not_fit_sd1() -> None:
    with pytest.raises(BadInput, match="26"):
        parse_weights([0.5] * 20, SD1)


def test_presets_are_26_numbers_between_0_and_1() -> None:
    known = presets.load()
    for name, values in known.items():
        assert len(values) == 26, name
        assert all(0 <= value <= 1 for value in values), name
    assert known["GRAD_V"][1] == known["GRAD_V"][25] == 1.0
    assert known["GRAD_V"][13] == 0.0
    assert known["COSINE"][1] == 1.0
    assert known["COSINE"][25] == 0.0
    assert [v for v in known["WRAP08"] if v] == [1.0] * 8
    assert known["SMOOTHSTEP*2"][1] == known["SMOOTHSTEP*2"][25] == 0.0
    assert known["SMOOTHSTEP*2"][13] == 1.0


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("GRAD_A", {0: 0, 1: 0.0833333333, 12: 1, 24: 0}),
        ("WRAP14", {6: 1, 7: 0, 17: 0, 18: 1}),
        ("MID12_50", {4: 0, 5: 0.5, 18: 0.5, 19: 0}),
        ("OUT07", {17: 0, 18: 1}),
        ("OUT12", {12: 0, 13: 1}),
        ("OUT12_5", {11: 0, 12: 0.5, 13: 1}),
        ("RING08_SOFT", {4: 0, 5: 0.5, 6: 1, 8: 1, 9: 0.5, 10: 0, 14: 0, 15: 0.5, 18: 1, 19: 0.5, 20: 0}),
        ("RING08_5", {5: 0, 6: 1, 9: 1, 10: 0, 14: 0, 15: 1, 18: 1, 19: 0}),
        ("RING10_5", {4: 0, 5: 1, 9: 1, 10: 0, 15: 1, 19: 1, 20: 0}),
        ("RING10_3", {5: 0, 6: 1, 10: 1, 11: 0, 13: 0, 14: 1, 18: 1, 19: 0}),
        ("REVERSE-SMOOTHSTEP", {1: 0.9949363426, 6: 0.84375}),
        ("SMOOTHSTEP*2", {1: 0.0101273148, 6: 0.3125, 13: 0.8752893519}),
        ("R_SMOOTHSTEP*3", {9: 0.05078125, 12: 0.5, 15: 0.94921875}),
        ("SMOOTHSTEP*4", {8: 0.962962963, 12: 0, 24: 0}),
        ("SMOOTHSTEP/2", {1: 0.0196759259, 12: 1, 24: 0}),
        ("R_SMOOTHSTEP/3", {1: 0.95703125, 8: 0, 16: 1, 24: 0}),
        ("SMOOTHSTEP/4", {1: 0.0740740741, 6: 1, 12: 0, 24: 0}),
        ("COSINE", {1: 0.9957224307, 8: 0.75}),
        ("TRUE_CUBIC_HERMITE", {0: 0, 1: 0.1990318769, 12: 0.5208333333, 24: 1}),
        ("TRUE_REVERSE_CUBIC_HERMITE", {0: 1, 23: 0.1573652102, 24: 0}),
        ("FAKE_CUBIC_HERMITE", {1: 0.157576196, 8: 0.5679012346, 24: 1}),
        ("FAKE_REVERSE_CUBIC_HERMITE", {1: 0.842423804, 24: 0}),
    ],
)
def test_presets_have_the_values_of_the_field(name: str, points: dict[int, float]) -> None:
    """Single points of supermerger's preset file, where a curve could be mistaken for its neighbour."""
    values = presets.find(name)
    assert values is not None
    assert {i: values[i + 1] for i in points} == pytest.approx(points, abs=1e-9)


def test_there_are_the_38_presets_and_one_more() -> None:
    assert len(presets.CURVES) == 39
    assert [values[0] for name, values in presets.CURVE_PRESETS.items() if name != "ALL_B"] == [0.0] * 38


@pytest.mark.parametrize(
    ("family", "key", "parts"),
    [
        ("sdxl", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.x", ("IN04.1.0", "IN04.1", "IN04")),
        ("sdxl", "model.diffusion_model.middle_block.1.transformer_blocks.9.x", ("M00.1.9", "M00.1", "M00")),
        ("sd1", "model.diffusion_model.output_blocks.11.1.proj_out.bias", ("OUT11.1", "OUT11")),
        ("sd1", "model.diffusion_model.out.2.bias", ("OUT", "OUT11")),
        ("sdxl", "model.diffusion_model.label_emb.0.0.bias", ("LABEL", "IN00")),
        ("sdxl", "conditioner.embedders.1.model.ln_final.bias", ("CLIPG", "BASE")),
        ("sdxl_refiner", "conditioner.embedders.0.model.ln_final.bias", ("CLIPG", "BASE")),
        ("sd2", "cond_stage_model.model.ln_final.bias", ("BASE",)),
        ("sd1", "first_stage_model.decoder.conv_in.bias", ("VAE",)),
        ("sd1", "v_pred", ("OTHER",)),
    ],
)
def test_parts_of_blocks(family: str, key: str, parts: tuple[str, ...]) -> None:
    assert parts_of(key, Layout(family)) == parts
    assert all(has_part(part, Layout(family)) for part in parts[:-1])


def test_embeddings_are_parts_of_the_block_that_the_flag_names() -> None:
    assert parts_of("model.diffusion_model.time_embed.0.bias", SDXL, time_embed="base") == ("TIME", "BASE")


@pytest.mark.parametrize("family", BLOCKS)
def test_the_last_part_is_the_block(family: str) -> None:
    for key in full_size(family):
        assert parts_of(key, Layout(family))[-1] == block_of(key, Layout(family))


def test_presets_of_the_file() -> None:
    assert [name for name, weight in parse_weights("middle", SDXL).items() if weight] == ["M00"]
    assert [name for name, weight in parse_weights("INPUT", SD1).items() if weight] == list(BLOCKS["sd1"][1:13])
    assert [name for name, weight in parse_weights("text_encoders", SD1).items() if weight] == ["BASE"]
    whole = zip(*(parse_weights(part, SD1).values() for part in ("INPUT", "MIDDLE", "OUTPUT")), strict=True)
    assert list(map(sum, whole)) == list(parse_weights("UNET", SD1).values())


def test_own_presets_and_broken_ones(tmp_path: Path) -> None:
    path = tmp_path / "presets.yaml"
    path.write_text(f"mein Mix: {[0.5] * 26}\n", "utf-8")
    assert presets.load(path)["MEIN MIX"] == (0.5,) * 26
    for text in ("x: [1, 2]", "x: 3", f"x: {['a'] * 26}", "x: [" + ", ".join([".nan"] * 26) + "]"):
        path.write_text(text, "utf-8")
        with pytest.raises(BadInput, match="x: found"):
            presets.load(path)
    assert set(presets.load(tmp_path / "missing.yaml")) == set(presets.CURVE_PRESETS)
