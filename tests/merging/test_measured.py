"""Methods with figures of whole tensors, rows and whole models: the engine against plain whole-tensor arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_astolfo.errors import Failed, Stopped
from lib_astolfo.merging import figures, formula, kernels, limits, methods, runs, workers, writing
from lib_astolfo.merging.compute import Computer
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.live import LiveWeights
from lib_astolfo.merging.method import Place
from lib_astolfo.merging.recipe import Recipe
from tests.merging import measuring
from tests.merging.test_runs import Model, tasks_of
from tests.merging.tiny import POSITION_IDS, UNET, Make, load, same_bits

Resolve = Callable[[str], Path]
OPTIONS = {"project": {"alpha": 0.4}, "rows": {"alpha": 0.4}, "whole": {"alpha": 0.4}, "moved": {"alpha": 0.4}}
BIG = UNET + "output_blocks.1.1.proj_in.weight"
F8 = torch.float8_e4m3fn


@pytest.fixture(autouse=True)
def _methods(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, method in measuring.METHODS.items():
        monkeypatch.setitem(methods.METHODS, name, method)
    monkeypatch.setattr(runs, "SMALLEST", 64)
    monkeypatch.setattr(runs, "PART", 64)


@pytest.fixture
def four(make: Make) -> dict[str, dict[str, Tensor]]:
    """Models a to d in four dtypes, each with a tensor of many parts."""
    kinds = (torch.float16, torch.bfloat16, torch.float32, F8)
    big = {name: torch.randn(37, 29, generator=torch.Generator().manual_seed(9 + i)) for i, name in enumerate("abcd")}
    paths = {
        name: make(name, seed, kind, extra={BIG: big[name].to(kind)})
        for seed, (name, kind) in enumerate(zip("abcd", kinds, strict=True))
    }
    return {name: load(path) for name, path in paths.items()}


def recipe_of(method: str) -> Recipe:
    if method == "trim":
        return Recipe("trim", {"base": "a", "a": "b", "b": "c", "c": "d"}, options={"k": 0.4})
    if method == "dither":
        return Recipe("dither", {"a": "a", "b": "d"}, options={"seed": 5})
    return Recipe(method, {"a": "a", "b": "b"}, 0.4)


def plain(method: str, key: str, models: dict[str, dict[str, Tensor]]) -> Tensor:
    """The whole tensor at once, in fp32."""
    a, b, c, d = (models[name][key].float() for name in "abcd")
    entry = methods.get(method)
    if method == "trim":
        return a + entry(b - a, c - a, d - a, key=key, k=0.4)
    if method == "dither":
        return entry.function(a, d, place=Place(key), seed=5)
    return entry(a, b, key=key, alpha=0.4)


def merged(name: str) -> bool:
    return name != POSITION_IDS and not name.startswith("first_stage_model.")


@pytest.mark.parametrize("method", [name for name in measuring.METHODS if name != "spread"])
def test_as_on_whole_tensors(four: dict[str, dict[str, Tensor]], resolve: Resolve, tmp_path: Path, method: str) -> None:
    merge(recipe_of(method), resolve, tmp_path / "out.safetensors")
    for name, found in load(tmp_path / "out.safetensors").items():
        if merged(name):
            torch.testing.assert_close(found, plain(method, name, four).half(), rtol=2e-3, atol=1e-5, msg=name)
        else:
            assert same_bits(found, four["a"][name].half() if found.is_floating_point() else four["a"][name])


def test_figures_of_the_whole_model(four: dict[str, dict[str, Tensor]], resolve: Resolve, tmp_path: Path) -> None:
    report = merge(Recipe("spread", {"a": "a", "b": "b"}, 0.4), resolve, tmp_path / "out.safetensors")
    means = {}
    for name in four["a"]:
        if merged(name):
            a, b = four["a"][name].double(), four["b"][name].double()
            means[name] = float(((a - b) / a.square().sum().sqrt()).mean())
    assert report.merged == len(means)
    span = max(means.values()) - min(means.values())
    # parts have means of their own: the engine's range is at least that of the tensors
    for name, found in load(tmp_path / "out.safetensors").items():
        if merged(name):
            a, b = four["a"][name].float(), four["b"][name].float()
            weight = ((found.float() - a) * (b - a)).sum() / (b - a).square().sum()
            assert weight > 0.4 * span - 0.05, name
            reference = float(weight)
    a, b, out = (source[BIG].float() for source in (four["a"], four["b"], load(tmp_path / "out.safetensors")))
    assert float(((out - a) * (b - a)).sum() / (b - a).square().sum()) == pytest.approx(reference, abs=0.02)


def nested() -> Recipe:
    """Measures over a measured method's result, rounded between; the same part twice."""
    inner = Recipe("trim", {"base": "c", "a": "a", "b": "d"}, options={"k": 0.5}, dtype="fp16")
    both = Recipe("spread", {"a": inner, "b": "b"}, 0.3, dtype="fp32")
    return Recipe("project", {"a": both, "b": inner}, 0.7, options={})


def test_nested_measures_wait_for_the_inner_ones(
    four: dict[str, dict[str, Tensor]], resolve: Resolve, tmp_path: Path, models: Path
) -> None:
    merge(nested(), resolve, tmp_path / "out.safetensors")
    inner = nested().models["b"]
    assert isinstance(inner, Recipe)
    merge(inner, resolve, models / "inner.safetensors")
    merge(Recipe("spread", {"a": "inner", "b": "b"}, 0.3, dtype="fp32"), resolve, models / "both.safetensors")
    merge(Recipe("project", {"a": "both", "b": "inner"}, 0.7), resolve, tmp_path / "steps.safetensors")
    steps = load(tmp_path / "steps.safetensors")
    found = load(tmp_path / "out.safetensors")
    assert all(same_bits(found[name], steps[name]) for name in steps if merged(name))


def test_passes_go_no_deeper_than_they_must(four: object, resolve: Resolve) -> None:
    task = next(task for task in tasks_of(resolve, nested()) if task.name == BIG)
    levels = figures.passes(task.value.formula)
    names = [sorted(f"{node.method}{index}" for node, index in level) for level in levels]
    assert names == [["trim0", "trim0"], ["trim2", "trim2"], ["spread0"], ["spread1"], ["project0"]]
    assert len(figures.of_model(task.value.formula)) == 1
    assert formula.unit(task.value.formula) == "element"


@pytest.mark.parametrize("method", ["project", "trim", "rows", "whole", "spread", "dither", "moved", "nested"])
def test_threads_and_live_weights_give_the_same_bytes(
    four: dict[str, dict[str, Tensor]], resolve: Resolve, tmp_path: Path, method: str
) -> None:
    recipe = nested() if method == "nested" else recipe_of(method)
    found = set()
    for threads in (1, 2, 3):
        merge(recipe, resolve, tmp_path / f"{threads}.safetensors", threads=threads)
        found.add((tmp_path / f"{threads}.safetensors").read_bytes())
    assert len(found) == 1
    baked = load(tmp_path / "1.safetensors")
    model = Model(resolve("a"))
    own = {name: value.clone() for name, value in model.loaded.items()}
    model.loaded[BIG] = model.loaded[BIG].t().contiguous().t()
    model.loaded[UNET + "input_blocks.1.0.out_layers.3.weight"] = model.loaded[
        UNET + "input_blocks.1.0.out_layers.3.weight"
    ].to(memory_format=torch.channels_last)
    model.loaded[UNET + "out.2.weight"] = model.loaded[UNET + "out.2.weight"].float()
    live = LiveWeights(model, resolve, threads=2)
    live.apply(recipe)
    for name, value in model.loaded.items():
        assert same_bits(value.contiguous(), baked[name].to(value.dtype)), name
    live.restore()
    assert all(same_bits(value.contiguous(), own[name].to(value.dtype)) for name, value in model.loaded.items())


def test_a_figure_of_the_model_that_changes_rewrites_live_weights(
    four: dict[str, dict[str, Tensor]], resolve: Resolve, tmp_path: Path
) -> None:
    """The range is over other tensors when a block is kept; tensors of the other blocks change with it."""
    model = Model(resolve("a"))
    live = LiveWeights(model, resolve, threads=1)
    live.apply(Recipe("spread", {"a": "a", "b": "b"}, 0.4))
    fewer = Recipe("spread", {"a": "a", "b": "b"}, blocks={"M00": 0.4, "OUT01": 0.4})
    live.apply(fewer)
    merge(fewer, resolve, tmp_path / "out.safetensors")
    baked = load(tmp_path / "out.safetensors")
    assert all(same_bits(value, baked[name]) for name, value in model.loaded.items())


def spoiled(make: Make, which: str, value: float) -> None:
    for seed, name in enumerate("abcd"):
        big = torch.randn(37, 29, generator=torch.Generator().manual_seed(seed)).half()
        if name == which:
            big[20, 3] = value
        make(name, seed, extra={BIG: big})


@pytest.mark.parametrize("method", ["project", "trim", "rows", "whole", "spread"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_bad_value_does_not_spoil_the_tensor(
    make: Make, resolve: Resolve, tmp_path: Path, method: str, value: float
) -> None:
    spoiled(make, "b", value)
    with pytest.raises(Failed, match=rf"b\.safetensors: {BIG}"):
        merge(recipe_of(method), resolve, tmp_path / "out.safetensors")
    recipe = recipe_of(method)
    kept = Recipe(recipe.method, recipe.models, recipe.ratio, options={**recipe.options, "non_finite": "keep_a"})
    report = merge(kept, resolve, tmp_path / "out.safetensors")
    assert report.non_finite == {BIG: 1}
    out, a = load(tmp_path / "out.safetensors")[BIG], load(resolve("a"))[BIG]
    assert bool(out.isfinite().all())
    assert out[20, 3] == a[20, 3]
    assert not torch.equal(out, a)


def test_overflow_inside_a_measured_recipe(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    big = torch.randn(37, 29).half()
    big[5, 5] = 60000.0
    make("a", 1, extra={BIG: big})
    make("b", 2, extra={BIG: -big})
    inner = Recipe("weighted_sum", {"a": "a", "b": "b"}, -0.5, dtype="fp16")
    with pytest.raises(Failed, match=r"beyond 65504"):
        merge(Recipe("project", {"a": "a", "b": inner}, 0.5), resolve, tmp_path / "out.safetensors")
    kept = Recipe("project", {"a": "a", "b": inner}, 0.5, options={"non_finite": "keep_a"})
    assert merge(kept, resolve, tmp_path / "out.safetensors").non_finite == {BIG: 1}
    assert load(tmp_path / "out.safetensors")[BIG][5, 5] == 60000.0


def test_input_convolutions_of_different_width(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    key = UNET + "input_blocks.0.0.weight"
    wide = load(make("a", 1, extra={key: torch.randn(8, 9, 3, 3).half()}))[key]
    narrow = load(make("b", 2))[key]
    merge(Recipe("project", {"a": "a", "b": "b"}, 0.4), resolve, tmp_path / "out.safetensors")
    found = load(tmp_path / "out.safetensors")[key]
    wanted = methods.get("project")(wide[:, :4].float(), narrow.float(), alpha=0.4).half()
    torch.testing.assert_close(found[:, :4], wanted, rtol=2e-3, atol=1e-5)
    assert same_bits(found[:, 4:], wide[:, 4:])


def test_parts_are_rows_where_rows_are_asked_for(make: Make, resolve: Resolve) -> None:
    make("a", 1)
    make("b", 2)
    for task in tasks_of(resolve, Recipe("rows", {"a": "a", "b": "b"}, 0.4)):
        if not task.reason:
            bounds = runs.parts(task)
            assert bounds[0][0] == 0
            assert [start for start, _ in bounds[1:]] == [stop for _, stop in bounds[:-1]]
            row = runs.elements(task) // (task.shape[0] if task.shape else 1)
            assert all(start % row == 0 for start, _ in bounds)


def test_whole_tensors_are_lent_one_at_a_time(
    four: object, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent: list[int] = []
    monkeypatch.setattr(limits.Budget.__init__, "__defaults__", (1000,))
    real = limits.Budget.hold

    def watched(self: limits.Budget, nbytes: int) -> object:
        lent.append(nbytes)
        assert self.most <= 1000
        return real(self, nbytes)

    monkeypatch.setattr(limits.Budget, "hold", watched)
    merge(recipe_of("whole"), resolve, tmp_path / "out.safetensors", threads=3)
    assert max(lent) > 1000


def test_memory_does_not_grow_with_the_models(
    make: Make, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buffers of 24 models stay within those allowed, a fraction of what one of their tensors takes in fp32."""
    monkeypatch.setattr(runs, "SMALLEST", 1 << 10)
    monkeypatch.setattr(runs, "PART", 1 << 18)
    monkeypatch.setattr(runs, "SCRATCH", 1 << 21)
    names = [f"m{number}" for number in range(24)]
    for seed, name in enumerate(names):
        make(name, seed, extra={BIG: torch.randn(500, 1000, generator=torch.Generator().manual_seed(seed)).half()})
    crews: list[Computer] = []
    real = writing.Crew.computer

    def watched(self: writing.Crew, scratch: kernels.Scratch | None = None) -> Computer:
        crews.append(real(self, scratch))
        return crews[-1]

    monkeypatch.setattr(writing.Crew, "computer", watched)
    for count in (2, 24):
        models = {"base": names[0], "a": names[1]} | {name: name for name in names[2:count]}
        merge(Recipe("trim", models, options={"k": 0.5}), resolve, tmp_path / f"{count}.safetensors", threads=2)
    used = [computer.scratch.nbytes for computer in crews]
    assert 100_000 < max(used) <= 1 << 21
    assert 20 * max(used) < 500 * 1000 * 4 * 24


@pytest.mark.parametrize("method", ["trim", "whole"])
def test_a_long_tensor_can_be_stopped(
    make: Make, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.0)
    for seed, name in enumerate("abcd"):
        make(name, seed, extra={BIG: torch.randn(300, 300).half()})
    calls: list[int] = []

    def progress(done: int, total: int, text: str) -> None:
        calls.append(done)
        if len(calls) > 3:
            raise Stopped("by hand")

    with pytest.raises(Stopped):
        merge(recipe_of(method), resolve, tmp_path / "out.safetensors", threads=1, progress=progress)
    assert not list(tmp_path.glob("*.astolfo*")) and not (tmp_path / "out.safetensors").exists()
