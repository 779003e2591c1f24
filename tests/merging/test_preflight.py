"""What a merge will need, and a merge on a sample: figures that can be reckoned by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.checkpoints.blocks import block_of
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import engine, plan, preflight, runs, speeds
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.lora.use import LoraUse
from lib_astolfo.merging.preflight import Preflight
from lib_astolfo.merging.preview import Preview, cost, preview, sample
from lib_astolfo.merging.recipe import Recipe
from tests.merging.lora import synthetic
from tests.merging.lora.synthetic import Maker, small, targets, write
from tests.merging.tiny import SDXL_SHAPES, UNET, Make, load

Resolve = Callable[[str], Path]
MIDDLE = UNET + "middle_block.1.proj_in.weight"
#: A method that takes whole tensors.
ROTATED = Recipe("rotate", {"a": "a", "b": "b"}, 0.5)


def ws(ratio: float = 0.5, **more: Any) -> Recipe:
    return Recipe("weighted_sum", {"a": "a", "b": "b"}, ratio, **more)


def checked(recipe: Recipe, resolve: Resolve, folder: Path, **more: Any) -> tuple[Preflight, Preview]:
    found, seen = preflight.check(recipe, resolve, folder, threads=1, **more)
    assert seen is not None
    return found, seen


@pytest.fixture
def files(make: Make) -> None:
    for seed, name in enumerate("abc"):
        make(name, seed)


def test_models_in_order_with_what_they_are(files: None, make: Make, resolve: Resolve, tmp_path: Path) -> None:
    make("v", 4, extra={"v_pred": torch.zeros(0)})
    inner = Recipe("add_difference", {"b": "b", "c": "c", "a": "a"}, 1.0)
    recipe = Recipe("weighted_sum", {"b": inner, "a": "v"}, 0.5)
    found, _ = checked(recipe, resolve, tmp_path, known=lambda path: "0123456789" if path.stem == "b" else None)
    assert [(one.slot, one.name, one.prediction) for one in found.models] == [
        ("a", "v", "v"),
        ("b.a", "a", "eps"),
        ("b.b", "b", "eps"),
        ("b.c", "c", "eps"),
    ]
    assert [one.hash for one in found.models] == [None, None, "0123456789", None]
    assert {one.layout for one in found.models} == {"SDXL"}
    assert found.models[0].bytes == resolve("v").stat().st_size
    hashed, seen = preflight.check(recipe, resolve, tmp_path, hashes=True, share=None)
    assert seen is None
    assert hashed.seconds is None
    with CheckpointFile.open(resolve("c")) as file:
        assert hashed.models[-1].hash == file.sha256()
    text = "\n".join(found.lines())
    assert "b.b  b  0123456789  SDXL, eps" in text
    assert "not hashed" in text
    assert any("sampled as" in note for note in found.notes)


def test_loras_stand_behind_the_models(tmp_path: Path) -> None:
    shapes = small("sdxl")
    for seed, name in enumerate("ab"):
        synthetic.checkpoint(tmp_path / f"{name}.safetensors", shapes, seed)
    found = Maker(3).every(targets(shapes, synthetic.trained), shapes, "lora")
    write(tmp_path / "style.safetensors", found)
    recipe = ws(0.0, dtype="fp32", loras=(LoraUse("style", 0.5),))
    listed, seen = checked(recipe, lambda name: tmp_path / f"{name}.safetensors", tmp_path, share=0.5)
    assert [(one.slot, one.name) for one in listed.models] == [("a", "a"), ("b", "b"), ("lora", "style")]
    assert listed.lines()[2].startswith("  lora style  not hashed  LoRA, 0.")
    assert seen.blocks["M00"].norm > 0


def test_disk_bytes_and_counts_are_those_of_the_merge(files: None, resolve: Resolve, tmp_path: Path) -> None:
    folder = tmp_path / "not yet there"
    found, _ = checked(ws(), resolve, folder)
    report = merge(ws(), resolve, tmp_path / "out.safetensors")
    tensors = load(tmp_path / "out.safetensors").values()
    assert found.disk == sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert found.merged == report.merged
    assert sum(found.copied.values()) == len(report.copied)
    assert found.copied["VAE is kept"] == 2
    kept = [name for name in report.copied if name in SDXL_SHAPES]
    once = 2 * sum(math.prod(shape) for shape in SDXL_SHAPES.values())
    assert found.read == 2 * once - 2 * sum(math.prod(SDXL_SHAPES[name]) for name in kept) + 77 * 8
    assert not folder.exists()
    assert not list(tmp_path.glob(".astolfo-speed*"))
    json.dumps(found.to_dict())
    assert found.seconds is not None
    assert not found.problems


def test_tensors_that_are_measured_first_are_read_again(
    make: Make, resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor of one part is kept in memory; of several parts it is read for its figures and for its values."""
    monkeypatch.setattr(runs, "PART", 1 << 18)
    large = {UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": torch.randn(640, 640).half()}
    for name in "ab":
        make(name, 1, extra=large)
    for method, times in (("weighted_sum", 1), ("slerp", 2)):
        recipe = Recipe(method, {"a": "a", "b": "b"}, 0.5)
        with engine.open_files(recipe, resolve) as opened:
            found = {task.name: preflight.bytes_read(task) for task in plan.build(recipe, opened).tasks}
        assert found[next(iter(large))] == times * 2 * 640 * 640 * 2
        assert found[MIDDLE] == 2 * 40 * 41 * 2


def test_what_will_not_fit_is_a_problem(
    files: None, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "memory_free", lambda: 1000)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    found, _ = checked(ws(), resolve, tmp_path)
    assert len(found.problems) == 2
    assert "GB free, the output has" in found.problems[0]
    assert found.lines()[-2:] == list(found.problems)


def test_memory_grows_with_threads_and_whole_tensors(files: None, resolve: Resolve) -> None:
    def need(recipe: Recipe, threads: int) -> int:
        with engine.open_files(recipe, resolve) as opened:
            return preflight.memory_need(plan.build(recipe, opened), threads)

    assert need(ws(), 2) > need(ws(), 1)
    assert need(ROTATED, 1) > need(Recipe("model", {"a": "a"}), 1)


def test_a_preview_of_everything_is_the_merge(files: None, resolve: Resolve, tmp_path: Path) -> None:
    recipe = ws(0.25, dtype="fp32")
    _, seen = checked(recipe, resolve, tmp_path, share=1.0)
    merge(recipe, resolve, tmp_path / "out.safetensors")
    before, after = load(resolve("a")), load(tmp_path / "out.safetensors")
    assert seen.share == 1.0
    names = {key: block_of(key, Layout("sdxl")) for key in before}
    assert list(seen.blocks) == ["BASE", "IN00", "IN01", "IN04", "IN08", "M00", "OUT00", "OUT08"]
    for block, change in seen.blocks.items():
        keys = [key for key in seen.keys if names[key] == block]
        assert change.tensors == len(keys)
        moved = sum(float((after[key].double() - before[key].double()).square().sum()) for key in keys)
        size = sum(float(before[key].double().square().sum()) for key in keys)
        assert change.norm == pytest.approx(math.sqrt(moved), rel=1e-6)
        assert change.relative == pytest.approx(math.sqrt(moved / size), rel=1e-6)
    assert seen.total_seconds == pytest.approx(seen.seconds)
    json.dumps(seen.to_dict())
    assert len(seen.lines()) == 1 + len(seen.blocks)


def test_a_preview_changes_with_the_ratio_of_a_block(files: None, resolve: Resolve, tmp_path: Path) -> None:
    _, seen = checked(ws(0.5, blocks={"M00": 0.25, "IN00": 0.0}), resolve, tmp_path)
    assert seen.blocks["IN00"].norm == 0
    assert seen.blocks["M00"].relative == pytest.approx(seen.blocks["BASE"].relative / 2, rel=0.25)
    assert "VAE" not in seen.blocks


def test_a_preview_counts_what_is_not_finite(make: Make, resolve: Resolve, tmp_path: Path) -> None:
    bad = torch.randn(40, 41).half()
    bad[3, 4] = float("nan")
    bad[5, 6:8] = float("inf")
    make("a", 1)
    make("b", 2, extra={MIDDLE: bad})
    _, seen = checked(ws(), resolve, tmp_path)
    assert dict(seen.non_finite) == {MIDDLE: 3}
    assert "3 values not finite in 1" in seen.lines()[0]


def test_the_sample_holds_the_share_and_some_of_every_block(files: None, resolve: Resolve) -> None:
    with engine.open_files(ws(), resolve) as opened:
        planned = plan.build(ws(), opened)
        tasks = [task for task in planned.tasks if not task.reason]
        for share in (0.01, 0.3):
            seen = preview(planned, share=share, threads=1)
            assert {block_of(key, Layout("sdxl")) for key in seen.keys} == set(seen.blocks)
            assert len(set(seen.keys)) == len(seen.keys)
            assert seen.total_seconds > seen.seconds
        middle = [task for task in tasks if task.name == MIDDLE]
        assert sample(middle, 0.01) == middle
        sizes = [runs.elements(task) for task in sample(tasks, 0.5)]
        assert 0.25 < sum(sizes) / sum(map(runs.elements, tasks)) <= 0.5
        assert cost(middle[0]) == 40 * 41
        for share in (0, -1, 1.1):
            with pytest.raises(BadInput, match="share"):
                preview(planned, share=share)
    with engine.open_files(ROTATED, resolve) as opened:
        task = next(task for task in plan.build(ROTATED, opened).tasks if task.name == MIDDLE)
        assert cost(task) == 40 * 41 * 40


def test_pinned_recipes_refuse_other_files(files: None, make: Make, resolve: Resolve, tmp_path: Path) -> None:
    pinned = preflight.pin(ws(), resolve)
    assert set(pinned.hashes) == {"a", "b"}
    assert Recipe.from_yaml(pinned.to_yaml()) == pinned
    checked(pinned, resolve, tmp_path)
    make("b", 9)
    with pytest.raises(BadInput, match=r"b\.safetensors"):
        checked(pinned, resolve, tmp_path)
    with pytest.raises(BadInput, match=r"b\.safetensors"):
        preflight.pin(pinned, resolve)


def test_speeds_are_of_this_machine(files: None, resolve: Resolve, tmp_path: Path) -> None:
    with CheckpointFile.open(resolve("a")) as file:
        assert (speeds.read_speed([file, file]) or 0) > 1e5
    assert (speeds.write_speed(tmp_path / "x" / "y") or 0) > 1e5
    assert speeds.read_speed([]) is None
    (tmp_path / "f").write_text("x")
    assert speeds.existing(tmp_path / "f" / "g") == tmp_path


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (99, "99 s"), (200, "3 min 20 s"), (5 * 3600 + 725, "5 h 12 min")]
)
def test_spans_of_time(seconds: float, words: str) -> None:
    assert speeds.duration(seconds) == words
