"""The way over another device: with the processor standing in for a GPU here, and on one where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.merging import cuda, methods, runs
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.kernels import Scratch
from lib_astolfo.merging.recipe import Recipe
from tests.merging import measuring
from tests.merging.tiny import UNET, Make, load

Resolve = Callable[[str], Path]
BIG = UNET + "output_blocks.1.1.proj_in.weight"
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(autouse=True)
def _methods(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, method in measuring.METHODS.items():
        monkeypatch.setitem(methods.METHODS, name, method)
    monkeypatch.setattr(runs, "SMALLEST", 64)
    monkeypatch.setattr(runs, "PART", 512)


@pytest.fixture
def four(make: Make) -> None:
    for seed, (name, kind) in enumerate(
        zip("abcd", (torch.float16, torch.float32, torch.bfloat16, torch.float8_e5m2), strict=True)
    ):
        big = torch.randn(200, 150, generator=torch.Generator().manual_seed(seed)).to(kind)
        make(name, seed, kind, extra={BIG: big})


def recipe_of(method: str) -> Recipe:
    if method == "trim":
        return Recipe("trim", {"base": "a", "a": "b", "b": "c", "c": "d"}, options={"k": 0.4})
    if method == "add_difference":
        return Recipe(method, {"a": "a", "b": "b", "c": "c"}, 0.7)
    if method == "nested":
        return Recipe("weighted_sum", {"a": "d", "b": Recipe("project", {"a": "a", "b": "b"}, 0.5)}, 0.4, dtype="bf16")
    return Recipe(method, {"a": "a", "b": "d"}, 0.4, blocks={"VAE": 0.4})


METHODS = ["weighted_sum", "add_difference", "project", "trim", "rows", "whole", "spread", "moved", "nested"]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bytes_over_copies(
    four: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    merge(recipe_of(method), resolve, tmp_path / "here.safetensors")
    lanes: list[cuda.Lane] = []

    def lane(device: str) -> cuda.Lane:
        lanes.append(cuda.Lane("cpu"))
        return lanes[-1]

    monkeypatch.setattr(cuda, "lane", lane)
    merge(recipe_of(method), resolve, tmp_path / "there.safetensors", threads=3)
    assert (tmp_path / "here.safetensors").read_bytes() == (tmp_path / "there.safetensors").read_bytes()
    assert any(lane.host.nbytes for lane in lanes)
    assert any(lane.scratch.nbytes for lane in lanes) or method == "whole"


def test_bad_values_are_found_on_the_way(
    four: None, make: Make, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = load(resolve("b"))[BIG].clone()
    bad[3, 4] = torch.nan
    make("b", 1, torch.float32, extra={BIG: bad})
    monkeypatch.setattr(cuda, "lane", lambda device: cuda.Lane("cpu"))
    for method in ("add_difference", "trim"):
        recipe = recipe_of(method)
        with pytest.raises(Failed, match=rf"b\.safetensors: {BIG}"):
            merge(recipe, resolve, tmp_path / "out.safetensors", overwrite=True)
        kept = Recipe(recipe.method, recipe.models, recipe.ratio, options={**recipe.options, "non_finite": "keep_a"})
        assert merge(kept, resolve, tmp_path / "out.safetensors", overwrite=True).non_finite == {BIG: 1}


def test_a_value_there_and_back() -> None:
    lane = cuda.Lane("cpu")
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn):
        stored = torch.randn(100).to(dtype)
        there = lane.send(stored, lane.scratch)
        assert there.dtype == torch.float32
        out = lane.host.take((100,), dtype)
        lane.fetch(there, out, lane.scratch)
        assert torch.equal(out.float(), stored.float())


@pytest.mark.parametrize(("device", "match"), [("gpu", "cpu, cuda"), ("cuda:x", "cpu, cuda"), ("cpu:1", "cpu, cuda")])
def test_other_devices_are_refused(four: None, resolve: Resolve, tmp_path: Path, device: str, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        merge(recipe_of("trim"), resolve, tmp_path / "out.safetensors", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_is_refused_without_a_gpu(four: None, resolve: Resolve, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"device.*cuda.*cannot use a GPU"):
        merge(recipe_of("trim"), resolve, tmp_path / "out.safetensors", device="cuda")
    assert not list(tmp_path.glob("*.safetensors"))


@GPU
@pytest.mark.parametrize("method", METHODS)
def test_on_a_gpu(four: None, resolve: Resolve, tmp_path: Path, method: str) -> None:
    for run, threads in enumerate((1, 2, 3)):
        merge(recipe_of(method), resolve, tmp_path / f"{run}.safetensors", threads=threads, device="cuda")
    merge(recipe_of(method), resolve, tmp_path / "here.safetensors")
    found = [(tmp_path / f"{run}.safetensors").read_bytes() for run in range(3)]
    assert found[0] == found[1] == found[2]
    here = load(tmp_path / "here.safetensors")
    for name, value in load(tmp_path / "0.safetensors").items():
        torch.testing.assert_close(value.float(), here[name].float(), rtol=1e-2, atol=1e-4, msg=name)


@GPU
def test_buffers_are_pinned() -> None:
    lane = cuda.Lane("cuda")
    assert lane.host.take((10,)).is_pinned()
    assert lane.scratch.take((10,)).is_cuda
    assert Scratch().take((10,)).device.type == "cpu"
