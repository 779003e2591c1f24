"""Distances, cosines, relations of several models, carried changes: against the same sums done plainly in float64."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_astolfo.checkpoints.blocks import block_of
from lib_astolfo.checkpoints.prediction import layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput, Stopped
from lib_astolfo.merging import arithmetic, differences, grams, relations
from lib_astolfo.merging.recipe import Recipe
from tests.merging.tiny import POSITION_IDS, SD1_SHAPES, SDXL_SHAPES, UNET, Make, load

VAE_KEY = "first_stage_model.decoder.conv_out.weight"
LABEL = UNET + "label_emb.0.0.weight"


def opened(*paths: Path) -> list[CheckpointFile]:
    return [CheckpointFile.open(path) for path in paths]


def flat(tensors: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([tensors[name].double().reshape(-1) for name in names])


def near(found: float | None, right: float | Tensor) -> bool:
    return found is not None and math.isclose(found, float(right), rel_tol=1e-12, abs_tol=1e-12)


def test_every_figure_is_that_of_whole_tensors_in_float64(make: Make) -> None:
    paths = make("a", 1), make("b", 2, torch.bfloat16), make("base", 3, torch.float32)
    a, b, base = (load(path) for path in paths)
    files = opened(*paths)
    found = differences.compare(*files)
    layout = layout_of(files[0])
    for name in SDXL_SHAPES:
        x, y, z = (flat(model, [name]) for model in (a, b, base))
        one = found.keys[name]
        assert near(one.l2, (y - x).norm()) and near(one.relative, (y - x).norm() / x.norm())
        assert near(one.cosine, torch.cosine_similarity(x, y, dim=0)) and near(one.largest, (y - x).abs().amax())
        assert near(one.moved_a, (x - z).norm()) and near(one.moved_b, (y - z).norm())
        assert near(one.cosine_moved, torch.cosine_similarity(x - z, y - z, dim=0))
    for block, one in found.blocks.items():
        names = [name for name in SDXL_SHAPES if block_of(name, layout) == block]
        x, y = flat(a, names), flat(b, names)
        assert near(one.l2, (y - x).norm()) and near(one.cosine, torch.cosine_similarity(x, y, dim=0))
        assert one.elements == x.numel()
    assert near(found.total.l2, (flat(b, [*SDXL_SHAPES]) - flat(a, [*SDXL_SHAPES])).norm())
    assert list(found.parts) == ["unet", "te1", "te2", "vae"]
    assert sum(one.elements for one in found.kinds.values()) == found.parts["unet"].elements
    assert list(found.blocks) == [name for name in differences.order(layout) if name in found.blocks]
    assert found.keys[POSITION_IDS].l2 == 0.0


def test_a_file_and_itself(make: Make) -> None:
    path = make("a", 1)
    found = differences.compare(*opened(path, path))
    assert found.total.l2 == found.total.largest == found.total.relative == 0.0
    assert found.total.cosine == 1.0
    assert (found.only_a, found.only_b, found.shapes, found.not_finite) == ((), (), {}, ())


def test_what_only_one_has_and_what_cannot_be_compared(make: Make) -> None:
    extra = {VAE_KEY: torch.zeros(3, 9, 3, 3), "mystery": torch.ones(2), "v_pred": torch.empty(0)}
    a, b = make("a", 1, extra={"mystery": torch.zeros(2)}), make("b", 2, extra=extra, drop=(LABEL,))
    bad = load(b)[UNET + "out.2.weight"]
    bad[0, 0, 0, 0] = float("nan")
    b = make("b", 2, extra={**extra, UNET + "out.2.weight": bad}, drop=(LABEL,))
    found = differences.compare(*opened(a, b))
    assert found.only_a == (LABEL,)
    assert found.only_b == ("v_pred",)
    assert found.shapes == {VAE_KEY: "[3, 8, 3, 3] and [3, 9, 3, 3]"}
    assert found.not_finite == (UNET + "out.2.weight",)
    assert near(found.keys["mystery"].l2, math.sqrt(2)) and found.keys["mystery"].relative is None
    left = set(SDXL_SHAPES) - {LABEL, VAE_KEY, UNET + "out.2.weight"}
    assert set(found.keys) == left | {"mystery", POSITION_IDS}
    assert found.top(1) == ["mystery"]
    right = torch.stack([(flat(load(b), [name]) - flat(load(a), [name])).square().sum() for name in left]).sum().sqrt()
    assert near(found.total.l2, right)  # of weights alone


def test_a_base_that_lacks_keys_counts_for_those_it_has(make: Make) -> None:
    found = differences.compare(*opened(make("a", 1), make("b", 2), make("c", 3, drop=(LABEL,))))
    assert found.keys[LABEL].moved_a is None and found.keys[LABEL].l2 > 0
    assert found.blocks["IN00"].moved_a is None
    assert found.blocks["OUT00"].moved_a is not None


def test_parts_of_a_tensor_and_threads_make_no_difference(make: Make) -> None:
    name = UNET + "input_blocks.1.0.out_layers.3.weight"
    shapes = {**SDXL_SHAPES, name: (8, 200_003)}
    a, b = (make(model, seed, torch.float32, shapes) for model, seed in (("a", 1), ("b", 2)))
    one, two = (differences.compare(*opened(a, b), threads=threads) for threads in (1, 3))
    assert one == two
    x, y = (flat(load(path), [name]) for path in (a, b))
    assert math.isclose(one.keys[name].l2, float((x - y).norm()), rel_tol=1e-12)
    assert near(one.keys[name].largest, (x - y).abs().amax())


def test_the_form_of_others_lists(make: Make) -> None:
    a, b = make("a", 1, extra={"x": torch.ones(1)}), make("b", 2, extra={VAE_KEY: torch.zeros(1)})
    found = json.loads(json.dumps(differences.compare(*opened(a, b)).distances()))
    assert (found["da"], found["db"], found["err"]) == (["x"], [], [VAE_KEY])
    assert list(found["kv"]) == sorted(found["kv"])
    name = UNET + "out.2.weight"
    assert math.isclose(
        found["kv"][name], float(torch.dist(load(a)[name].float(), load(b)[name].float())), rel_tol=1e-6
    )


def test_nothing_in_common_and_a_stop(make: Make, models: Path) -> None:
    from lib_astolfo.checkpoints.writer import save

    save(models / "x.safetensors", {"x": torch.ones(1)})
    with pytest.raises(BadInput, match="no tensor in common"):
        differences.compare(*opened(make("a", 1), models / "x.safetensors"))
    with pytest.raises(BadInput):
        differences.compare(*opened(models / "x.safetensors", models / "a.safetensors"))

    def stop(done: int, total: int, text: str) -> None:
        raise Stopped("stopped")

    with pytest.raises(Stopped):
        differences.compare(*opened(models / "a.safetensors", models / "a.safetensors"), progress=stop)


def test_kinds_of_layers() -> None:
    block = UNET + "input_blocks.4.1.transformer_blocks.0."
    kinds = [
        differences.kind_of(block + name) for name in ("attn1.to_q.weight", "attn2.to_k.weight", "ff.net.2.weight")
    ]
    assert kinds == ["self attention", "cross attention", "feed forward"]
    assert differences.kind_of(block + "norm1.weight") == differences.kind_of(UNET + "out_layers.0.weight") == "norms"
    assert differences.kind_of(UNET + "input_blocks.1.0.in_layers.2.weight") == "convolutions"


def test_ways_from_a_base(make: Make) -> None:
    base = load(make("base", 1, torch.float32))
    name, other = UNET + "out.2.weight", UNET + "middle_block.1.proj_in.weight"
    step = torch.zeros_like(base[name])
    step[0] = 0.5
    moved = {
        "one": {name: base[name] + step},
        "twice": {name: base[name] + 2 * step},
        "back": {name: base[name] - step},
        "aside": {other: base[other] + 1},
    }
    files = {model: CheckpointFile.open(make(model, 1, torch.float32, extra=extra)) for model, extra in moved.items()}
    found = relations.relate(files, ("base", CheckpointFile.open(make("base", 1, torch.float32))))
    size = float(step.norm())
    assert [round(norm / size, 6) for norm in found.norms[:3]] == [1.0, 2.0, 1.0]
    assert [round(value or 0, 6) for value in found.cosines[0]] == [1.0, 1.0, -1.0, 0.0]
    assert math.isclose(found.distances[0][2] or 0, 2 * size, rel_tol=1e-6)
    assert found.blocks["OUT08"]["norms"][3] == 0.0 and found.blocks["OUT08"]["cosines"][0][3] is None
    assert found.blocks["M00"]["norms"][:3] == [0.0, 0.0, 0.0]
    assert found.models == ("one", "twice", "back", "aside") and found.left_out == {}


def test_relations_of_many_models_are_those_of_pairs(make: Make) -> None:
    paths = {f"m{seed}": make(f"m{seed}", seed, drop=(LABEL,) if seed == 4 else ()) for seed in range(2, 9)}
    base = make("base", 1)
    files = dict(zip(paths, opened(*paths.values()), strict=True))
    found = relations.relate(files, ("base", CheckpointFile.open(base)))
    names = [name for name in SDXL_SHAPES if name != LABEL]
    ways = [flat(load(path), names) - flat(load(base), names) for path in paths.values()]
    for i, x in enumerate(ways):
        for j, y in enumerate(ways):
            assert near(found.cosines[i][j], torch.cosine_similarity(x, y, dim=0))
            assert math.isclose(found.distances[i][j] or 0.0, float((x - y).norm()), rel_tol=1e-7, abs_tol=1e-4)
    assert found.left_out == {LABEL: "not in m4"}
    with pytest.raises(BadInput, match="two or more"):
        relations.relate({"m2": files["m2"]}, ("base", CheckpointFile.open(base)))


def test_what_is_carried(make: Make) -> None:
    paths = {name: make(name, seed) for seed, name in enumerate(("a", "b", "c", "base"), 1)}
    recipe = arithmetic.carry("a", "b", "c", 0.5, {"IN00": 1.0, "OUT08": 0.4})
    assert recipe == Recipe("add_difference", {"a": "a", "b": "b", "c": "c"}, blocks={"IN00": 0.5, "OUT08": 0.2})
    files = {name: CheckpointFile.open(path) for name, path in paths.items()}
    found = arithmetic.report(recipe, files, files["base"])
    layout = layout_of(files["a"])
    held = {name: load(path) for name, path in paths.items()}
    for block, w in (("IN00", 0.5), ("OUT08", 0.2), ("M00", 0.0)):
        names = [name for name in held["a"] if block_of(name, layout) == block]
        a, b, c, base = (flat(held[name], names) for name in ("a", "b", "c", "base"))
        one = found.blocks[block]
        assert near(one.difference, (b - c).norm()) and near(one.change, w * (b - c).norm())
        assert near(one.relative, w * (b - c).norm() / a.norm())
        assert near(one.cosine, torch.cosine_similarity(b - c, a - base, dim=0))
        assert near(one.moved, (a - base).norm())
    assert math.isclose(sum(one.share for one in found.blocks.values()), 1.0)
    assert near(found.total.change, math.hypot(found.blocks["IN00"].change, found.blocks["OUT08"].change))
    assert arithmetic.report(recipe, files).blocks["IN00"].cosine is None


def test_masks_in_every_form(make: Make) -> None:
    assert arithmetic.carry("a", "b", "c", 0.3).ratio == 0.3
    assert arithmetic.carry("a", "b", "c", 0.3, ["out02", "OUT08"]).blocks == {"OUT02": 0.3, "OUT08": 0.3}
    assert arithmetic.carry("a", "b", "c", 0.5, "IN03-OUT05:0.4", dtype="fp32").blocks == {"IN03-OUT05": 0.2}
    numbers = arithmetic.carry("a", "b", "c", 2.0, [0.25] * 20).blocks
    assert numbers is not None and len(numbers) == 20 and set(numbers.values()) == {0.5}
    with pytest.raises(BadInput, match="OUT99"):
        arithmetic.carry("a", "b", "c", 0.3, ["OUT99"])
    with pytest.raises(BadInput):
        arithmetic.carry("a", "b", "c", float("nan"))
    files = {name: CheckpointFile.open(make(name, seed)) for seed, name in enumerate("abc", 1)}
    ranged = arithmetic.report(arithmetic.carry("a", "b", "c", 1.0, "IN03-OUT05:1"), files)
    assert ranged.blocks["IN00"].change == 0.0 < ranged.blocks["IN04"].change
    plain = arithmetic.report(arithmetic.carry("a", "b", "c", 1.0), files)
    assert plain.blocks["VAE"].change == 0.0 < plain.blocks["VAE"].difference
    with pytest.raises(BadInput, match="no weight in common"):
        arithmetic.report(arithmetic.carry("a", "b", "sd1", 1.0), {**files, "sd1": files["a"], "b": _sd1(make)})


def _sd1(make: Make) -> CheckpointFile:
    shapes = {f"other.{name}": shape for name, shape in SD1_SHAPES.items()}
    return CheckpointFile.open(make("sd1", 9, shapes=shapes))


def test_vectors_of_integers_doubles_and_fp8(make: Make) -> None:
    fp8 = torch.linspace(-2, 2, 33).to(torch.float8_e4m3fn)
    whole = torch.full((5,), 16_777_217, dtype=torch.int64)  # which float32 cannot hold
    fine = torch.full((5,), 1 + 2**-40, dtype=torch.float64)
    one = CheckpointFile.open(make("a", 1, extra={"whole": whole, "fine": fine, "fp8": fp8}))
    two = CheckpointFile.open(make("b", 1, extra={"whole": whole - 1, "fine": fine - 2**-40, "fp8": fp8.half()}))
    found = grams.grams([one, two], [grams.difference(0, 1), {}], ["whole", "fine", "fp8"], largest=(0, 1))
    assert found["whole"].products[0, 0] == 5.0
    assert found["fine"].largest.tolist() == [2**-40, 0.0]
    assert found["fp8"].products.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_vector_of_any_factors(make: Make) -> None:
    paths = make("a", 1), make("b", 2), make("c", 3)
    name = UNET + "out.2.weight"
    found = grams.grams(opened(*paths), [{0: 0.5, 1: 2.0, 2: -1.0}, {2: -3.0}], [name])[name].products
    a, b, c = (flat(load(path), [name]) for path in paths)
    one, two = 0.5 * a + 2 * b - c, -3 * c
    assert near(float(found[0, 0]), one @ one) and near(float(found[0, 1]), one @ two)
