"""A mixed weight is what baking the snapshot with that weight gives, and what a live merge writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.live import LiveWeights
from lib_astolfo.merging.lora.use import LoraUse
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.training.forms.settings import KINDS
from lib_astolfo.training.forms.snapshots import write_snapshot
from tests.training.forms.steps import copied, stirred

RATIO = 0.37


def resolve(folder: Path, tmp_path: Path, name: str) -> Path:
    """A checkpoint, or a snapshot."""
    return next(path for path in (folder / f"{name}.safetensors", tmp_path / f"{name}.safetensors") if path.exists())


def baked(base: str, dtype: str, folder: Path, tmp_path: Path, ratio: float = RATIO) -> dict[str, Tensor]:
    recipe = Recipe("lora", {"a": base}, loras=(LoraUse("snapshot", ratio),), dtype=dtype)
    report = merge(recipe, lambda name: resolve(folder, tmp_path, name), tmp_path / "out.safetensors", overwrite=True)
    assert not report.loras[0].unused and not report.loras[0].off
    with CheckpointFile.open(tmp_path / "out.safetensors") as file:
        return {name: file.tensor(name).clone() for name in file.tensors}


@pytest.mark.parametrize("name", ["sdxl", "sd1"])
@pytest.mark.parametrize("kind", KINDS)
def test_bit_for_bit(folder: Path, host: StandaloneHost, tmp_path: Path, name: str, kind: str) -> None:
    model = host.load(name)
    form = stirred(model, kind)
    write_snapshot(tmp_path / "snapshot.safetensors", form, dtype="fp32")
    mixed = {key: form.mixed(key, RATIO) for key in form.names}
    assert all(not torch.equal(mixed[key], form.base(key)) for key in form.names)
    form.discard()
    found = baked(name, "fp32", folder, tmp_path)
    assert [key for key, tensor in mixed.items() if not torch.equal(found[key], tensor)] == []
    live = LiveWeights(model, lambda key: resolve(folder, tmp_path, key), threads=1)
    before = copied(model)
    live.apply(Recipe("lora", {"a": name}, loras=(LoraUse("snapshot", RATIO),), dtype="fp32"))
    for key, tensor in model.weights().items():
        torch.testing.assert_close(tensor, mixed.get(key, before[key]), rtol=0, atol=0)
    live.restore()


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_rounded_once_to_the_dtype_of_the_weights(folder: Path, tmp_path: Path, dtype: str, kind: str) -> None:
    """Trained in fp32 or, in place, in the dtype itself; half a unit in the last place is all that is lost."""
    host = StandaloneHost([folder], tmp_path / "out", device="cpu", dtype=dtype)
    model = host.load(f"sdxl-{dtype}")
    form = stirred(model, kind)
    write_snapshot(tmp_path / "snapshot.safetensors", form, dtype="fp32")
    mixed = {key: form.mixed(key, RATIO) for key in form.names}
    form.discard()
    found = baked(f"sdxl-{dtype}", dtype, folder, tmp_path)
    assert all(torch.equal(found[key], tensor) and tensor.dtype == found[key].dtype for key, tensor in mixed.items())
    host.unload()


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", ["delta", "lora", "lokr"])
def test_a_snapshot_in_half_loses_its_own_rounding_only(
    folder: Path, host: StandaloneHost, tmp_path: Path, dtype: str, kind: str
) -> None:
    """A difference is rounded once: half a unit of its last place. A product of two rounded factors, twice."""
    form = stirred(host.load("sdxl"), kind)
    write_snapshot(tmp_path / "snapshot.safetensors", form, dtype=dtype)
    found = baked("sdxl", "fp32", folder, tmp_path, 1.0)
    unit = float(torch.finfo({"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]).eps) / 2
    for key in form.names:
        delta = form.difference(key)
        lost = (found[key] - form.mixed(key, 1.0)).abs().max()
        assert float(lost) <= 4 * unit * float(delta.abs().max()) + 1e-6, key
    assert any(not torch.equal(found[key], form.mixed(key, 1.0)) for key in form.names)


def test_nothing_and_the_whole_difference(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    for kind in ("full", "delta", "lora"):
        form = stirred(model, kind)
        for key in form.names:
            assert torch.equal(form.mixed(key, 0.0), form.base(key))
            own = form.base(key) + form.difference(key)
            torch.testing.assert_close(form.mixed(key, 1.0), own, rtol=1e-6, atol=1e-7)
            assert form.difference(key).shape == model.weights()[key].shape
        if kind == "full":
            key = form.names[0]
            torch.testing.assert_close(form.mixed(key, 1.0), form.trainables()[key].detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["lora", "lokr"])
def test_in_blocks_of_rows_as_large_weights_are(
    folder: Path, host: StandaloneHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from lib_astolfo.merging.lora import algebra
    from lib_astolfo.training.forms import adapters

    for module in (algebra, adapters):
        monkeypatch.setattr(module, "BLOCK", 1000)
    form = stirred(host.load("sdxl"), kind)
    write_snapshot(tmp_path / "snapshot.safetensors", form, dtype="fp32")
    found = baked("sdxl", "fp32", folder, tmp_path)
    assert [key for key in form.names if not torch.equal(found[key], form.mixed(key, RATIO))] == []
