"""Every method: the same bytes whatever the threads, on every run, and in loaded weights of any strides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib_astolfo.merging import runs
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.live import LiveWeights
from lib_astolfo.merging.methods import METHODS
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.recipe_check import SINGLE
from tests.merging.test_runs import Model
from tests.merging.tiny import UNET, Make, load, same_bits

Resolve = Callable[[str], Path]
BIG = UNET + "output_blocks.1.1.proj_in.weight"
CONV = UNET + "input_blocks.1.0.out_layers.3.weight"
#: Options under which every measure of a method is needed.
OPTIONS = {
    "ties_sum": {"k": 0.3},
    "ties_sum_extended": {"k": 0.3, "apply_median": True},
    "ties_sum_with_dropout": {"probability": 0.3, "della_eps": 0.2, "k": 0.6, "apply_median": True, "seed": 7},
    "dropout": {"probability": 0.3, "overlap": 0.5, "seed": 7},
    "truncate_rank": {"rank": 4},
}


def recipe_of(name: str) -> Recipe:
    method = METHODS[name]
    slots = {slot: "abcd"[index] for index, slot in enumerate(method.inputs)}
    if method.many:
        slots |= {"x": "c", "y": "d"}
    if method.space == "delta":
        slots = {"base": "a"} | {slot: "bcdb"[index] for index, slot in enumerate(slots)}
    ratio = 0.4 if "alpha" in method.options else None
    return Recipe(name, slots, ratio, options={**OPTIONS.get(name, {}), "non_finite": "keep_a"})


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(SINGLE)))
def test_one_set_of_bytes(
    name: str, make: Make, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "SMALLEST", 100)
    monkeypatch.setattr(runs, "PART", 100)
    kinds = (torch.float16, torch.float32, torch.bfloat16, torch.float8_e4m3fn)
    base = torch.randn(37, 29, generator=torch.Generator().manual_seed(9))
    for seed, (letter, kind) in enumerate(zip("abcd", kinds, strict=True)):
        own = torch.randn(37, 29, generator=torch.Generator().manual_seed(seed))
        make(letter, seed, kind, extra={BIG: (base + 0.1 * own).to(kind)})
    recipe, found = recipe_of(name), set()
    for threads in (1, 3, 2):
        merge(recipe, resolve, tmp_path / f"{threads}.safetensors", threads=threads)
        found.add((tmp_path / f"{threads}.safetensors").read_bytes())
    assert len(found) == 1
    baked = load(tmp_path / "1.safetensors")
    assert not torch.equal(baked[BIG], load(resolve("a"))[BIG])
    model = Model(resolve("a"))
    own = {key: value.clone() for key, value in model.loaded.items()}
    model.loaded[BIG] = model.loaded[BIG].t().contiguous().t()
    model.loaded[CONV] = model.loaded[CONV].to(memory_format=torch.channels_last)
    live = LiveWeights(model, resolve, threads=2)
    live.apply(recipe)
    assert all(same_bits(value.contiguous(), baked[key]) for key, value in model.loaded.items())
    live.restore()
    assert all(same_bits(value.contiguous(), own[key]) for key, value in model.loaded.items())
