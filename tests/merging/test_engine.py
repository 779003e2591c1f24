"""The streaming engine against whole-tensor arithmetic, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.checkpoints.blocks import block_of
from lib_astolfo.checkpoints.prediction import layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput, Failed, Stopped
from lib_astolfo.merging import methods, runs
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.method import Method
from lib_astolfo.merging.recipe import Recipe
from tests.merging.tiny import POSITION_IDS, SD1_SHAPES, UNET, Make, add_difference, load, same_bits, weighted_sum

Resolve = Callable[[str], Path]
VAE = "first_stage_model."
IN8 = UNET + "input_blocks.8.0.in_layers.0.bias"
CONV_IN = UNET + "input_blocks.0.0.weight"


def plain(ratio: float | None = 0.3, **more: Any) -> Recipe:
    return Recipe("weighted_sum", {"a": "a", "b": "b"}, ratio, **more)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.85, 1.0, -0.25, 1.5])
@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
def test_weighted_sum(make: Make, resolve: Resolve, tmp_path: Path, stored: torch.dtype, ratio: float) -> None:
    a, b = load(make("a", 1, stored)), load(make("b", 2, stored))
    merge(plain(ratio, dtype="keep"), resolve, tmp_path / "out.safetensors")
    out = load(tmp_path / "out.safetensors")
    assert list(out) == sorted(a) or set(out) == set(a)
    for name, found in out.items():
        kept = name.startswith(VAE) or name == POSITION_IDS
        assert same_bits(found, a[name] if kept else weighted_sum(a[name], b[name], ratio, stored)), name


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32", "keep"])
def test_add_difference_of_mixed_dtypes(make: Make, resolve: Resolve, tmp_path: Path, dtype: str) -> None:
    a, b, c = (
        load(make(name, seed, stored))
        for name, seed, stored in (("a", 1, torch.bfloat16), ("b", 2, torch.float32), ("c", 3, torch.float16))
    )
    recipe = Recipe("add_difference", {"a": "a", "b": "b", "c": "c"}, 0.7, dtype=dtype)
    merge(recipe, resolve, tmp_path / "out.safetensors")
    wanted = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "keep": torch.bfloat16}[dtype]
    for name, found in load(tmp_path / "out.safetensors").items():
        if name == POSITION_IDS:
            assert same_bits(found, a[name])
        elif name.startswith(VAE):
            assert same_bits(found, a[name].to(wanted))
        else:
            assert same_bits(found, add_difference(a[name], b[name], c[name], 0.7, wanted)), name


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float64])
def test_stored_in_eight_or_sixty_four_bits(make: Make, resolve: Resolve, tmp_path: Path, stored: torch.dtype) -> None:
    a, b = load(make("a", 1, stored)), load(make("b", 2))
    merge(plain(), resolve, tmp_path / "out.safetensors")
    merge(plain(dtype="keep"), resolve, tmp_path / "same.safetensors")
    same = load(tmp_path / "same.safetensors")
    for name, found in load(tmp_path / "out.safetensors").items():
        if name != POSITION_IDS and not name.startswith(VAE):
            assert same_bits(found, weighted_sum(a[name], b[name], 0.3, torch.float16)), name
            assert same_bits(same[name], weighted_sum(a[name], b[name], 0.3, stored)), name


def test_the_bytes_do_not_depend_on_threads_chunks_or_the_run(
    make: Make, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("a", 1)
    make("b", 2, torch.bfloat16)
    inner = {"method": "weighted_sum", "models": {"a": "a", "b": "b"}, "ratio": 0.6}
    recipe = Recipe.from_dict({"method": "weighted_sum", "models": {"a": "a", "b": inner}, "ratio": 0.4})
    digests = set()
    for index, (threads, chunk, smallest) in enumerate([(1, 2 << 20, 1 << 14), (4, 64, 1), (2, 1000, 1), (1, 64, 1)]):
        monkeypatch.setattr(runs, "SMALLEST", smallest)
        monkeypatch.setattr(runs.cut, "__defaults__", (chunk,))
        path = tmp_path / f"{index}.safetensors"
        merge(recipe, resolve, path, threads=threads)
        digests.add(path.read_bytes())
    assert len(digests) == 1


def test_block_ratios_and_the_vae(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    path_a, path_b = make("a", 1), make("b", 2)
    a, b = load(path_a), load(path_b)
    blocks = {"BASE": 0.1, "IN00": 0.2, "IN08": 1.0, "M00": 0.4, "OUT08": 0.5, "VAE": 0.6}
    report = merge(plain(None, blocks=blocks), resolve, tmp_path / "out.safetensors")
    with CheckpointFile.open(path_a) as file:
        layout = layout_of(file)
    for name, found in load(tmp_path / "out.safetensors").items():
        block = block_of(name, layout)
        if name != POSITION_IDS and block in blocks:
            assert same_bits(found, weighted_sum(a[name], b[name], blocks[block], torch.float16)), name
            assert name not in report.copied
        else:
            assert same_bits(found, a[name]), name
            assert name in report.copied
    assert report.copied[UNET + "output_blocks.0.0.in_layers.2.weight"] == "OUT00 is kept"


def test_time_embedding_follows_the_flag(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    a, b = load(make("a", 1)), load(make("b", 2))
    key = UNET + "time_embed.0.weight"
    for flag, ratio in (("in00", 0.25), ("base", 0.75)):
        recipe = plain(None, blocks={"IN00": 0.25, "BASE": 0.75}, options={"time_embed": flag})
        merge(recipe, resolve, tmp_path / f"{flag}.safetensors")
        found = load(tmp_path / f"{flag}.safetensors")[key]
        assert same_bits(found, weighted_sum(a[key], b[key], ratio, torch.float16))


def test_blocks_of_the_wrong_layout(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    make("a", 1)
    make("b", 2)
    with pytest.raises(BadInput, match=r"blocks\.IN11"):
        merge(plain(0.5, blocks={"IN11": 1.0}), resolve, tmp_path / "out.safetensors")
    all_26 = Recipe.from_dict({"method": "weighted_sum", "models": {"a": "a", "b": "b"}, "blocks": [0.5] * 26})
    assert merge(all_26, resolve, tmp_path / "out.safetensors").merged > 0
    make("a", 1, shapes=SD1_SHAPES)
    make("b", 2, shapes=SD1_SHAPES)
    all_20 = Recipe.from_dict({"method": "weighted_sum", "models": {"a": "a", "b": "b"}, "blocks": [0.5] * 20})
    with pytest.raises(BadInput, match="26 values"):
        merge(all_20, resolve, tmp_path / "out20.safetensors")


def test_nested_streaming_rounds_as_baking_would(make: Make, resolve: Resolve, models: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        make(name, seed)
    inner = Recipe("add_difference", {"a": "a", "b": "b", "c": "c"}, 0.5)
    merge(inner, resolve, models / "baked.safetensors")
    merge(Recipe("weighted_sum", {"a": "c", "b": inner}, 0.3), resolve, tmp_path / "nested.safetensors")
    merge(Recipe("weighted_sum", {"a": "c", "b": "baked"}, 0.3), resolve, tmp_path / "twice.safetensors")
    nested, twice = load(tmp_path / "nested.safetensors"), load(tmp_path / "twice.safetensors")
    assert all(same_bits(nested[name], twice[name]) for name in twice)
    exact = Recipe("weighted_sum", {"a": "c", "b": Recipe.from_dict({**inner.to_dict(), "dtype": "fp32"})}, 0.3)
    merge(exact, resolve, tmp_path / "exact.safetensors")
    a, b, c = (load(resolve(name))[IN8] for name in "abc")
    wanted = weighted_sum(c, add_difference(a, b, c, 0.5, torch.float32), 0.3, torch.float16)
    assert same_bits(load(tmp_path / "exact.safetensors")[IN8], wanted)


def test_keys_that_are_not_everywhere(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    foreign = {"lost.and.found": torch.ones(3), UNET + "input_blocks.2.0.in_layers.0.bias": torch.ones(2)}
    a, b = load(make("a", 1, drop=(IN8,))), load(make("b", 2, drop=(CONV_IN[:-6] + "bias",), extra=foreign))
    report = merge(plain(), resolve, tmp_path / "out.safetensors")
    out = load(tmp_path / "out.safetensors")
    assert set(out) == set(a)
    assert set(report.left_out) == {IN8, *foreign} == set(report.only_in_b)
    assert report.copied[CONV_IN[:-6] + "bias"] == "not in b"
    assert report.merged + len(report.copied) == len(out)
    merge(plain(options={"keys": "union"}), resolve, tmp_path / "union.safetensors")
    union = load(tmp_path / "union.safetensors")
    assert set(union) == set(a) | set(b)
    assert same_bits(union[IN8], b[IN8])


@pytest.mark.parametrize(("wide_a", "wide_b"), [(True, False), (False, True), (True, True)])
def test_input_convolutions_of_different_width(
    make: Make, resolve: Resolve, tmp_path: Path, wide_a: bool, wide_b: bool
) -> None:
    wide = {CONV_IN: torch.randn(8, 9, 3, 3).half()}
    a = load(make("a", 1, extra=wide if wide_a else None))[CONV_IN]
    b = load(make("b", 2, extra={CONV_IN: torch.randn(8, 9, 3, 3).half()} if wide_b else None))[CONV_IN]
    report = merge(plain(), resolve, tmp_path / "out.safetensors")
    common = 9 if wide_a and wide_b else 4
    wanted = a.clone()
    wanted[:, :common] = weighted_sum(a[:, :common], b[:, :common], 0.3, torch.float16)
    assert same_bits(load(tmp_path / "out.safetensors")[CONV_IN], wanted)
    assert any("kinds" in note for note in report.notes) == (wide_a != wide_b)


def test_whole_tensor_and_delta_methods_fit_the_engine(
    make: Make, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What later methods need: tensors in their shape, any number of models, differences from a base."""
    shapes = []

    def scaled(*deltas: Tensor, alpha: float) -> Tensor:
        shapes.append(tuple(deltas[0].shape))
        return torch.stack(deltas).mean(0) * deltas[0].square().sum() * alpha

    entry = Method("scaled", scaled, ("a",), {"alpha": 1.0}, space="delta", unit="tensor", many=True, formula="")
    monkeypatch.setitem(methods.METHODS, "scaled", entry)
    files = [load(make(name, seed)) for name, seed in (("base", 1), ("x", 2), ("y", 3))]
    recipe = Recipe("scaled", {"base": "base", "a": "x", "more": "y"}, 0.5)
    merge(recipe, resolve, tmp_path / "out.safetensors")
    base, x, y = (file[CONV_IN].float() for file in files)
    wanted = (base + scaled(x - base, y - base, alpha=0.5)).half()
    torch.testing.assert_close(load(tmp_path / "out.safetensors")[CONV_IN], wanted, rtol=1e-3, atol=1e-4)
    assert (8, 4, 3, 3) in shapes


def test_progress_counts_bytes_and_can_stop(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    make("a", 1)
    make("b", 2)
    calls: list[tuple[int, int, str]] = []
    report = merge(plain(), resolve, tmp_path / "out.safetensors", progress=lambda *args: calls.append(args))
    assert calls[0][0] == 0
    assert calls[-1][0] == calls[-1][1] <= report.bytes

    def stop(done: int, total: int, text: str) -> None:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        merge(plain(), resolve, tmp_path / "stopped.safetensors", progress=stop)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["out.safetensors"]


def test_torch_keeps_its_threads(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    import threading

    def fresh() -> int:
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return seen[0]

    make("a", 1)
    make("b", 2)
    inside: list[int] = []
    kept = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        method = methods.METHODS["weighted_sum"]
        watched = Method("watched", lambda a, b: inside.append(torch.get_num_threads()) or a, method.inputs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(methods.METHODS, "watched", watched)
            merge(Recipe("watched", {"a": "a", "b": "b"}), resolve, tmp_path / "out.safetensors", threads=2)
        assert set(inside) == {1}
        assert (torch.get_num_threads(), fresh()) == (3, 3)
    finally:
        torch.set_num_threads(kept)


@pytest.mark.parametrize(
    ("recipe", "match"),
    [
        (plain(), r"nothing|no such file"),
        (Recipe("weighted_sum", {"a": "a", "b": "sd1"}, 0.5), "sd1"),
        (Recipe("weighted_sum", {"a": "a", "b": "misfit"}, 0.5), r"middle_block\.1\.proj_in\.weight"),
    ],
)
def test_models_that_do_not_fit(make: Make, resolve: Resolve, tmp_path: Path, recipe: Recipe, match: str) -> None:
    make("a", 1)
    make("sd1", 2, shapes=SD1_SHAPES)
    make("misfit", 3, extra={UNET + "middle_block.1.proj_in.weight": torch.ones(40, 44).half()})
    with pytest.raises(BadInput, match=match):
        merge(recipe, resolve, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_any_layout_lists_what_it_kept(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    make("a", 1)
    key = UNET + "middle_block.1.proj_in.weight"
    make("b", 3, extra={key: torch.ones(40, 44).half()})
    report = merge(plain(options={"layout": "any"}), resolve, tmp_path / "out.safetensors")
    assert report.copied[key] == "shapes differ"


def test_threads_and_hashes_are_checked(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    make("a", 1)
    make("b", 2)
    with pytest.raises(BadInput, match="threads"):
        merge(plain(), resolve, tmp_path / "out.safetensors", threads=0)
    with pytest.raises(BadInput, match="sha256"):
        merge(plain(hashes={"b": "0123456789"}), resolve, tmp_path / "out.safetensors")
    merge(plain(), resolve, tmp_path / "out.safetensors", hashes=True)
    with CheckpointFile.open(tmp_path / "out.safetensors") as file:
        recipe = Recipe.from_yaml(file.metadata["astolfo.recipe"])
    assert set(recipe.hashes) == {"a", "b"}
    merge(recipe, resolve, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "out.safetensors").read_bytes()


def test_the_output_must_not_be_an_input(make: Make, resolve: Resolve, models: Path) -> None:
    before = make("a", 1).read_bytes()
    make("b", 2)
    with pytest.raises(BadInput, match="input a"):
        merge(plain(), resolve, models / "a.safetensors", overwrite=True)
    with pytest.raises(BadInput):
        merge(plain(), resolve, models / "b.safetensors")
    assert (models / "a.safetensors").read_bytes() == before


def test_failures_leave_nothing(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    make("a", 1)
    make("b", 2, extra={IN8: torch.full((33,), float("nan")).half()})
    with pytest.raises(Failed, match=r"input_blocks\.8"):
        merge(plain(), resolve, tmp_path / "out.safetensors")
    assert not [p for p in tmp_path.iterdir() if p.is_file()]
