"""Values that are not finite, and values that the output's dtype cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import Failed
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.recipe import Recipe
from tests.merging.tiny import SDXL_SHAPES, UNET, Make, load, same_bits, tensors, weighted_sum

Resolve = Callable[[str], Path]
KEY = UNET + "middle_block.1.proj_in.weight"
VAE_KEY = "first_stage_model.decoder.conv_out.weight"


def spoiled(seed: int, key: str, value: float, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    values = tensors(seed, dtype)[key].clone()
    values.view(-1)[5] = value
    return {key: values}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("slot", ["a", "b"])
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_the_error_names_file_and_key(
    make: Make, resolve: Resolve, tmp_path: Path, value: float, slot: str, dtype: str
) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        make(name, seed, extra=spoiled(seed, KEY, value) if name == slot else None)
    recipe = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3, dtype=dtype)
    with pytest.raises(Failed, match=rf"{slot}\.safetensors: {KEY}.* \(1 in the result\).*keep_a"):
        merge(recipe, resolve, tmp_path / "out.safetensors")


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_keep_a_replaces_just_those_values(make: Make, resolve: Resolve, tmp_path: Path, dtype: str) -> None:
    a = load(make("a", 1))
    b = load(make("b", 2, extra=spoiled(2, KEY, float("nan"))))
    wanted_dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    recipe = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3, dtype=dtype, options={"non_finite": "keep_a"})
    report = merge(recipe, resolve, tmp_path / "out.safetensors")
    wanted = weighted_sum(a[KEY], b[KEY], 0.3, wanted_dtype)
    wanted.view(-1)[5] = a[KEY].view(-1)[5].to(wanted_dtype)
    assert same_bits(load(tmp_path / "out.safetensors")[KEY], wanted)
    assert report.non_finite == {KEY: 1}
    assert any("not finite" in note for note in report.notes)


def test_a_copied_weight_is_tested_too(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    make("a", 1, extra=spoiled(1, VAE_KEY, float("inf")))
    make("b", 2)
    with pytest.raises(Failed, match=VAE_KEY):
        merge(Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3), resolve, tmp_path / "out.safetensors")


def test_overflow_on_rounding(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    """60000 + 1·(60000 - 0) does not fit into fp16; it does into bf16."""
    for name, value in (("a", 60000.0), ("b", 60000.0), ("c", 0.0)):
        make(name, 1, extra=spoiled(1, KEY, value))
    models = {"a": "a", "b": "b", "c": "c"}
    with pytest.raises(Failed, match=rf"{KEY}: 1 values are beyond 65504.*bf16"):
        merge(Recipe("add_difference", models, 1.0), resolve, tmp_path / "out.safetensors")
    merge(Recipe("add_difference", models, 1.0, dtype="bf16"), resolve, tmp_path / "bf16.safetensors")
    assert load(tmp_path / "bf16.safetensors")[KEY].view(-1)[5] == 119808.0
    recipe = Recipe("add_difference", models, 1.0, options={"non_finite": "keep_a"})
    assert merge(recipe, resolve, tmp_path / "kept.safetensors").non_finite == {KEY: 1}
    assert load(tmp_path / "kept.safetensors")[KEY].view(-1)[5] == 60000.0


def test_fp32_weights_that_fp16_cannot_hold(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    make("a", 1, torch.float32, extra=spoiled(1, VAE_KEY, 1e6, torch.float32))
    make("b", 2)
    recipe = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3)
    with pytest.raises(Failed, match=rf"{VAE_KEY}.*65504"):
        merge(recipe, resolve, tmp_path / "out.safetensors")
    kept = Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3, options={"non_finite": "keep_a"})
    merge(kept, resolve, tmp_path / "out.safetensors")
    assert load(tmp_path / "out.safetensors")[VAE_KEY].view(-1)[5] == 65504.0


def test_foreign_keys_may_hold_anything(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    sigmas = torch.tensor([0.1, float("inf")])
    make("a", 1, extra={"denoiser.sigmas": sigmas})
    make("b", 2)
    report = merge(Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3), resolve, tmp_path / "out.safetensors")
    assert same_bits(load(tmp_path / "out.safetensors")["denoiser.sigmas"], sigmas)
    assert report.copied["denoiser.sigmas"] == "of no known block"
    assert report.merged == len([key for key in SDXL_SHAPES if not key.startswith("first_stage_model")])
