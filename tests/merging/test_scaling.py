"""What a recipe puts around its method: weights per model, a share of the result, options per block, adjust."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import adjust, methods
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.live import LiveWeights
from lib_astolfo.merging.method import Method
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.report import Report
from tests.merging.loaded import Loaded
from tests.merging.tiny import SD1_SHAPES, SDXL_SHAPES, UNET, Make, load, same_bits

Resolve = Callable[[str], Path]
CONV_IN, OUT = UNET + "input_blocks.0.0.weight", UNET + "out.2."
IN8, MIDDLE = UNET + "input_blocks.8.0.in_layers.0.bias", UNET + "middle_block.1.proj_in.weight"
VAE = "first_stage_model.decoder.conv_out.weight"
#: The tensors that adjust changes, in the order of the golden figures.
ADJUSTED = {
    UNET + "out.0.weight": (8,),
    UNET + "out.0.bias": (8,),
    OUT + "bias": (4,),
    UNET + "input_blocks.0.0.bias": (8,),
}
GOLDEN = json.loads((Path(__file__).parent / "golden" / "adjust.json").read_text("utf-8"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.safetensors"


def merged(data: dict[str, Any] | Recipe, resolve: Resolve, out: Path) -> tuple[Report, dict[str, Tensor]]:
    recipe = data if isinstance(data, Recipe) else Recipe.from_dict(data)
    return merge(recipe, resolve, out, overwrite=True), load(out)


def close(found: Tensor, wanted: Tensor) -> bool:
    """Equal up to the rounding of fp16."""
    return torch.allclose(found.float(), wanted.float(), rtol=2e-3, atol=2e-3)


def test_each_difference_is_scaled_before_the_method(
    make: Make, resolve: Resolve, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = Method("largest", lambda *d: torch.stack(d).amax(0), ("a", "b"), space="delta", many=True)
    monkeypatch.setitem(methods.METHODS, "largest", largest)
    base, a, b, c = (load(make(name, seed)) for seed, name in enumerate(("o", "a", "b", "c")))
    data = {"method": "largest", "models": {"base": "o", "a": "a", "b": "b", "c": "c"}, "ratio": {"b": 0.5, "c": -2}}
    _, found = merged({**data, "blocks": {"M00": 0.25, "VAE": 0}}, resolve, out)
    for key, share in ((IN8, 1.0), (MIDDLE, 0.25)):
        o = base[key].float()
        deltas = torch.stack([a[key].float() - o, 0.5 * (b[key].float() - o), -2 * (c[key].float() - o)])
        assert close(found[key], o + share * deltas.amax(0))
    assert same_bits(found[VAE], base[VAE])


def test_the_mean_of_models_with_weights(make: Make, resolve: Resolve, out: Path) -> None:
    a, b, c = (load(make(name, seed)) for seed, name in enumerate("abc"))
    data = {"method": "n_average", "models": {"a": "a", "b": "b", "c": "c"}, "ratio": {"b": 0.5, "c": 0.3}}
    report, found = merged(data, resolve, out)
    assert close(found[IN8], (a[IN8].float() + 0.5 * b[IN8].float() + 0.3 * c[IN8].float()) / 1.8)
    assert same_bits(found[VAE], a[VAE])
    assert report.merged
    with pytest.raises(BadInput, match="sum is not 0"):
        Recipe.from_dict({**data, "ratio": {"b": -0.5, "c": -0.5}})


def test_a_share_of_a_method_without_ratio(make: Make, resolve: Resolve, out: Path) -> None:
    a, b = load(make("a", 1)), load(make("b", 2))
    data = {"method": "n_average", "models": {"a": "a", "b": "b"}}
    mean = (a[IN8].float() + b[IN8].float()) / 2
    for ratio, share in ((None, 1.0), (0.5, 0.5), (0, 0.0)):
        _, found = merged({**data, "ratio": ratio}, resolve, out)
        assert close(found[IN8], a[IN8].float().lerp(mean, share))
    _, found = merged({**data, "blocks": {"VAE": 1, "IN08": 0}}, resolve, out)
    assert same_bits(found[IN8], a[IN8])
    assert close(found[VAE], (a[VAE].float() + b[VAE].float()) / 2)


def test_options_per_block_reach_the_method(
    make: Make, resolve: Resolve, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shifted = Method("shifted", lambda a, b, *, beta: a + beta, ("a", "b"), {"beta": 1.0})
    monkeypatch.setitem(methods.METHODS, "shifted", shifted)
    a, _ = load(make("a", 1)), make("b", 2)
    data = {"method": "shifted", "models": {"a": "a", "b": "b"}, "options": {"beta": {"M00": 0.25, "IN00-IN05": 3}}}
    _, found = merged(data, resolve, out)
    for key, beta in ((MIDDLE, 0.25), (CONV_IN, 3.0), (IN8, 1.0)):
        assert close(found[key], a[key].float() + beta)


def test_patterns_and_elements_in_a_file(make: Make, resolve: Resolve, out: Path) -> None:
    a, b = load(make("a", 1)), load(make("b", 2))
    data = {"method": "weighted_sum", "models": {"a": "a", "b": "b"}, "elements": "M00::1"}
    report, found = merged({**data, "patterns": {r"in_layers\.0\.bias$": 0.5, "nowhere": 1}}, resolve, out)
    assert same_bits(found[MIDDLE], b[MIDDLE])
    assert same_bits(found[IN8], a[IN8].float().lerp(b[IN8].float(), 0.5).half())
    assert same_bits(found[CONV_IN], a[CONV_IN])
    assert report.copied[CONV_IN] == "IN00 is kept"
    assert "patterns: nowhere fits no key of these models and does nothing" in report.notes


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['fine']}-{case['isxl']}")
def test_adjust_has_the_figures_of_supermerger(case: dict[str, Any]) -> None:
    numbers = adjust.read(case["fine"])
    assert len(numbers) == 8
    found = [adjust.factor(key, numbers) for key in adjust.KEYS[:5]]
    bias = adjust.shift(adjust.KEYS[5], numbers, xl=case["isxl"]) or (0.0,) * 4
    assert [*found, list(bias)] == case["out"]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_adjust_of_one_model(make: Make, resolve: Resolve, out: Path, family: str) -> None:
    shapes = {**(SDXL_SHAPES if family == "sdxl" else SD1_SHAPES), **ADJUSTED}
    before = load(make("a", 1, dtype=torch.float32, shapes=shapes))
    numbers = (1, 2, 3, 4, 5, 6, 7, 8)
    data = {"method": "model", "models": {"a": "a"}, "adjust": list(numbers), "dtype": "keep"}
    report, found = merged(data, resolve, out)
    changed = {key for key in before if not same_bits(before[key], found[key])}
    assert changed == set(adjust.KEYS) & set(before)
    for key in changed - {OUT + "bias"}:
        assert torch.equal(found[key], before[key] * adjust.factor(key, numbers))
    shift = torch.tensor(adjust.shift(OUT + "bias", numbers, xl=Layout(family).is_xl))
    assert torch.equal(found[OUT + "bias"], before[OUT + "bias"] + shift)
    assert report.merged == 0
    assert report.copied[CONV_IN] == "of one model, adjusted"


def test_adjust_after_a_merge_and_inside_another(make: Make, resolve: Resolve, out: Path) -> None:
    shapes = {**SDXL_SHAPES, **ADJUSTED}
    a, b = (load(make(name, seed, torch.float32, shapes)) for seed, name in enumerate("ab"))
    inner = {"method": "weighted_sum", "models": {"a": "a", "b": "b"}, "ratio": 0.5, "adjust": {"OUT": 50}}
    _, found = merged({**inner, "dtype": "fp32"}, resolve, out)
    key = UNET + "out.0.weight"
    wanted = a[key].lerp(b[key], 0.5) * 0.5
    assert torch.equal(found[key], wanted)
    outer = {"method": "weighted_sum", "models": {"a": "a", "b": inner}, "ratio": 0.5, "dtype": "fp32"}
    _, found = merged({**outer, "adjust": [0, -100]}, resolve, out)
    assert torch.equal(found[key], a[key].lerp(wanted, 0.5) * 2)


@pytest.mark.parametrize(("wide_a", "wide_b"), [(9, 4), (4, 9), (8, 4), (4, 8), (8, 9), (9, 8)])
def test_wide_input_convolutions_merge_and_adjust(
    make: Make, resolve: Resolve, out: Path, wide_a: int, wide_b: int
) -> None:
    """Inpainting has 9 channels, pix2pix 8: the common ones are merged, A's others kept, all of them adjusted."""
    wide = {width: torch.randn(8, width, 3, 3) for width in (wide_a, wide_b)}
    for name, width in (("a", wide_a), ("b", wide_b)):
        make(name, 1, torch.float32, extra={CONV_IN: wide[width]})
    data = {"method": "weighted_sum", "models": {"a": "a", "b": "b"}, "ratio": 0.25, "dtype": "fp32"}
    common = min(wide_a, wide_b)
    wanted = wide[wide_a].clone()
    wanted[:, :common] = wanted[:, :common].lerp(wide[wide_b][:, :common], 0.25)
    report, found = merged(data, resolve, out)
    assert torch.equal(found[CONV_IN], wanted)
    assert any("kinds" in note for note in report.notes)
    _, found = merged({**data, "adjust": [50]}, resolve, out)
    assert torch.equal(found[CONV_IN], wanted * 0.5)


def test_position_ids_are_kept_whatever_their_dtype(make: Make, resolve: Resolve, out: Path) -> None:
    key = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    ids = torch.arange(77, dtype=torch.float32).view(1, 77)
    make("a", 1, shapes=SD1_SHAPES, extra={key: ids})
    make("b", 2, shapes=SD1_SHAPES, extra={key: ids + 0.5})
    report, found = merged({"method": "weighted_sum", "models": {"a": "a", "b": "b"}, "ratio": 1.0}, resolve, out)
    assert same_bits(found[key], ids)
    assert report.copied[key] == "position ids are kept"
    make("b", 2, shapes=SD1_SHAPES, extra={key: ids.long()})
    _, found = merged({"method": "weighted_sum", "models": {"a": "b", "b": "a"}, "ratio": 1.0}, resolve, out)
    assert found[key].dtype == torch.int64


def test_a_recipe_whose_ratios_reach_nothing_is_refused(make: Make, resolve: Resolve, out: Path) -> None:
    make("a", 1)
    make("b", 2)
    data = {"method": "weighted_sum", "models": {"a": "a", "b": "b"}, "patterns": {"nowhere": 1}}
    with pytest.raises(BadInput, match="ratios that reach them"):
        merged(data, resolve, out)
    assert not out.exists()


def test_live_is_what_a_file_would_hold(make: Make, resolve: Resolve, out: Path) -> None:
    """The eight numbers, elements and patterns on a loaded model; another adjust alone writes its few tensors; undo."""
    shapes = {**SDXL_SHAPES, **ADJUSTED}
    loaded = Loaded(make("a", 1, shapes=shapes), torch.float16)
    make("b", 2, shapes=shapes)
    own = loaded.copy()
    live = LiveWeights(loaded, resolve, threads=1)
    data = {"method": "weighted_sum", "models": {"a": "a", "b": "b"}, "ratio": 0.5, "elements": "M00::0.25"}
    for numbers in ([1, 2, 3, 4, 5], [3, 2, 1]):
        recipe = Recipe.from_dict({**data, "patterns": {"to_k": 1}, "adjust": numbers})
        report = live.apply(recipe)
        _, baked = merged(recipe, resolve, out)
        assert all(same_bits(tensor.contiguous(), baked[name]) for name, tensor in loaded.weights().items())
    changed = [key for key in adjust.KEYS if key in own]
    assert report.bytes == 2 * sum(own[key].numel() for key in changed if "out.0" not in key)
    live.restore()
    assert all(same_bits(tensor.contiguous(), own[name].contiguous()) for name, tensor in loaded.weights().items())
