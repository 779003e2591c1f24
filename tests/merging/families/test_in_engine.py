"""The methods in the engine, on small checkpoints cut into many parts, against whole tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib_astolfo.merging import runs
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.methods import METHODS
from lib_astolfo.merging.recipe import Recipe
from tests.merging.families import cutting
from tests.merging.tiny import POSITION_IDS, Make, load

Resolve = Callable[[str], Path]


@pytest.fixture
def recipe(make: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Recipe]:
    """Models a, b and c in fp32; recipe(method) merges them."""
    monkeypatch.setattr(runs, "SMALLEST", 64)
    monkeypatch.setattr(runs, "PART", 64)
    for seed, name in enumerate("abc"):
        make(name, seed, torch.float32)

    def build(name: str) -> Recipe:
        slots = ("a", "b", "c") if METHODS[name].many else METHODS[name].inputs
        ratio = 0.5 if "alpha" in METHODS[name].options else None
        return Recipe(name, {slot: slot for slot in slots}, ratio, dtype="fp32")

    return build


@pytest.mark.parametrize("name", [name for name in cutting.COMPUTED if not name.startswith("cosine_")])
def test_files_hold_what_the_method_gives(
    name: str, recipe: Callable[[str], Recipe], models: Path, resolve: Resolve, tmp_path: Path
) -> None:
    one = recipe(name)
    report = merge(one, resolve, tmp_path / "out.safetensors")
    inputs = [load(models / f"{slot}.safetensors") for slot in one.models]
    found = load(tmp_path / "out.safetensors")
    merged = [key for key in found if key != POSITION_IDS and not key.startswith("first_stage_model.")]
    assert report.merged == len(merged)
    options = {} if one.ratio is None else {"alpha": 0.5}
    for key in merged:
        right = METHODS[name](*(tensors[key] for tensors in inputs), key=key, **options)
        torch.testing.assert_close(found[key], right, rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", ["cosine_a", "cosine_b"])
def test_the_range_is_that_of_all_merged_tensors(
    name: str, recipe: Callable[[str], Recipe], models: Path, resolve: Resolve, tmp_path: Path
) -> None:
    merge(recipe(name), resolve, tmp_path / "out.safetensors")
    a, b = (load(models / f"{slot}.safetensors") for slot in "ab")
    found = load(tmp_path / "out.safetensors")
    merged = [key for key in found if key != POSITION_IDS and not key.startswith("first_stage_model.")]
    entry = METHODS[name]
    total, sums = None, {}
    for key in merged:
        figures = cutting.counted(entry, (a[key], b[key]), alpha=0.5)
        sums[key] = figures[0]
        total = figures[1] if total is None else entry.measures[1].combine(total, figures[1])
    assert total is not None
    reach = entry.measures[1].result(total, cutting.Place(), {})
    for key in merged:
        right = cutting.in_parts(entry, (a[key], b[key]), 1 << 30, (sums[key], reach), alpha=0.5)
        torch.testing.assert_close(found[key], right, rtol=1e-5, atol=1e-6, msg=key)
