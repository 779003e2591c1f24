"""Merges into loaded weights: the bits of a bake, exact undo, any tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import Failed
from lib_astolfo.merging import runs
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.live import LiveWeights
from lib_astolfo.merging.recipe import Recipe
from tests.merging.loaded import KEY, PROJECTION, VAE_KEY, Loaded, Resolve, equal, recipe
from tests.merging.tiny import POSITION_IDS, UNET, Make, load, same_bits


@pytest.mark.parametrize("live_dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32", "keep"])
@pytest.mark.parametrize("method", ["weighted_sum", "add_difference"])
def test_live_is_bake_then_load(
    files: None, resolve: Resolve, models: Path, live_dtype: torch.dtype, dtype: str, method: str
) -> None:
    slots = {"a": "a", "b": "b"} if method == "weighted_sum" else {"a": "a", "b": "c", "c": "b"}
    wanted = Recipe(method, slots, 0.7, blocks={"M00": 0.2, "VAE": 0.9}, dtype=dtype)
    model = Loaded(resolve("a"), live_dtype)
    report = LiveWeights(model, resolve).apply(wanted)
    baked = merge(wanted, resolve, models / "baked.safetensors")
    assert equal(model.copy(), Loaded(models / "baked.safetensors", live_dtype).copy())
    assert (report.merged, report.sampling) == (baked.merged, baked.sampling)


@pytest.mark.parametrize("threads", [1, 3])
def test_undo_is_exact_after_many_changes(
    files: None, resolve: Resolve, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(runs, "SMALLEST", 16)
    monkeypatch.setattr(runs, "CHUNK", 64)
    monkeypatch.setattr(runs.cut, "__defaults__", (64,))
    model = Loaded(resolve("a"), torch.float16)
    before = model.copy()
    live = LiveWeights(model, resolve, threads=threads)
    for step in range(20):
        live.apply(recipe(step / 20, blocks={"VAE": 1.0} if step % 3 else None))
    last = model.copy()
    assert not equal(last, before)
    assert live.current == recipe(19 / 20, blocks={"VAE": 1.0} if 19 % 3 else None)
    live.restore()
    assert equal(model.copy(), before)
    assert live.current is None
    assert not live._copies
    live.restore()
    assert equal(model.copy(), before)


def test_weights_that_are_not_the_files_come_back_too(files: None, resolve: Resolve) -> None:
    """Trained since, or loaded with a rounding of its own: those tensors, and only those, are kept as copies."""
    model = Loaded(resolve("a"), torch.float32)
    with torch.no_grad():
        model.weights()[KEY].add_(1e-3)
        model.weights()[PROJECTION].mul_(-1.0)
    before = model.copy()
    live = LiveWeights(model, resolve)
    live.apply(recipe())
    live.restore()
    assert equal(model.copy(), before)
    assert set(live._copies) == {KEY, PROJECTION}


def test_only_what_differs_is_written(files: None, resolve: Resolve) -> None:
    model = Loaded(resolve("a"), torch.float16)
    live = LiveWeights(model, resolve)
    first = live.apply(recipe(0.3))
    assert first.bytes == sum(v.nbytes for name, v in model.weights().items() if not name.startswith("first_stage"))
    assert live.apply(recipe(0.3)).bytes == 0
    assert live.apply(recipe(0.3, blocks={"M00": 0.9})).bytes == model.weights()[KEY].nbytes


def test_a_recipe_without_the_loaded_model(make: Make, files: None, resolve: Resolve, models: Path) -> None:
    """The result of b and c over a loaded a is what a bake of b and c would load as; what it lacks is a's own."""
    make("b", 2, drop=(VAE_KEY,))
    model = Loaded(resolve("a"), torch.float16)
    own = model.copy()
    live = LiveWeights(model, resolve)
    live.apply(recipe(0.5, blocks={"VAE": 1.0}))
    others = Recipe("weighted_sum", {"a": "b", "b": "c"}, 0.5)
    live.apply(others)
    merge(others, resolve, models / "baked.safetensors")
    baked = Loaded(models / "baked.safetensors", torch.float16).copy()
    found = model.copy()
    assert same_bits(found.pop(VAE_KEY), own[VAE_KEY])
    assert equal(found, baked)


def test_temporarily_puts_back_what_stood_before(files: None, resolve: Resolve) -> None:
    model = Loaded(resolve("a"), torch.float16)
    live = LiveWeights(model, resolve)
    own = model.copy()
    with live.temporarily(recipe(0.2)) as report:
        assert report is not None
        assert report.merged
        assert live.current == recipe(0.2)
    assert equal(model.copy(), own)
    live.apply(recipe(0.5))
    stood = model.copy()
    with pytest.raises(ZeroDivisionError), live.temporarily(recipe(0.9)):
        assert not equal(model.copy(), stood)
        raise ZeroDivisionError
    assert equal(model.copy(), stood)
    assert live.current == recipe(0.5)
    with live.temporarily(None):
        assert equal(model.copy(), own)
        assert live.current is None
    assert equal(model.copy(), stood)


def test_a_tensor_that_is_away_for_a_while_is_written_anew(files: None, resolve: Resolve, models: Path) -> None:
    """As the VAE of a WebUI's model while one of the user's choice stands in its place, and after it."""
    loaded = Loaded(models / "a.safetensors", torch.float16)
    own, there = loaded.copy(), loaded.names
    away = {name: key for name, key in there.items() if name != VAE_KEY}
    live = LiveWeights(loaded, resolve)
    live.apply(recipe())
    merged = loaded.copy()
    with torch.no_grad():
        loaded.weights()[VAE_KEY].zero_()
    loaded.names = away
    live.apply(recipe(0.4))
    live.apply(recipe())
    loaded.names = there
    assert not loaded.weights()[VAE_KEY].any()
    live.apply(recipe())
    assert equal(loaded.copy(), merged)
    loaded.names = away
    live.restore()
    loaded.names = there
    live.restore()
    assert equal(loaded.copy(), own)


class Told(Loaded):
    """A model that is told what was written, and by then can be looked at."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        super().__init__(path, dtype)
        self.told: list[tuple[set[str], bool]] = []

    def written(self, names: set[str], own: bool) -> None:
        self.told.append((names, own))


def test_the_model_is_told_what_was_written(make: Make, files: None, resolve: Resolve) -> None:
    spoiled = load(resolve("b"))[UNET + "out.2.weight"].clone()
    spoiled.view(-1)[-1] = float("nan")
    make("bad", 2, extra={UNET + "out.2.weight": spoiled})
    model = Told(resolve("a"), torch.float16)
    live = LiveWeights(model, resolve)
    live.apply(recipe(0.5, blocks={"VAE": 0.5}))
    (names, own), merged = model.told[0], {VAE_KEY, KEY}
    assert merged <= names and not own
    live.apply(recipe(0.5, blocks={"VAE": 0.7}))
    assert VAE_KEY in model.told[1][0] and KEY not in model.told[1][0]
    live.apply(recipe(0.5, blocks={"VAE": 0.7}))
    assert len(model.told) == 2, "nothing was written"
    with pytest.raises(Failed):
        live.apply(recipe(0.7, "bad"))
    assert not model.told[-1][1], "what stood before stands again"
    live.restore()
    names, own = model.told[-1]
    assert merged <= names and own


def test_integer_and_marker_keys_are_not_live(make: Make, resolve: Resolve) -> None:
    make("a", 1, extra={"v_pred": torch.zeros(0)})
    make("b", 2)
    model = Loaded(resolve("a"), torch.float16)
    assert POSITION_IDS not in model.weights()
    assert LiveWeights(model, resolve).apply(recipe(0.5)).merged
