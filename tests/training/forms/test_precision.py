"""Weights of any dtype below trained tensors of any dtype."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.forms.settings import KINDS
from tests.training.forms.steps import answer, copied, everything, same, settings, step

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.mark.parametrize("trained", ["fp32", "bf16"])
@pytest.mark.parametrize("live", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_under_autocast(folder: Path, tmp_path: Path, kind: str, live: str, trained: str) -> None:
    host = StandaloneHost([folder], tmp_path / "out", device="cpu", dtype=live)
    model = host.load("sdxl")
    before = copied(model)
    form = make(settings(kind, dtype=trained), model, everything(model))
    wanted = DTYPES[live] if kind == "in_place" else DTYPES[trained]
    assert {tensor.dtype for tensor in form.trainables().values()} == {wanted}
    losses = [step(model, form, checkpointing=True, autocast=torch.bfloat16, rate=0.1) for _ in range(2)]
    assert losses[1] < losses[0]
    changed = [name for name in form.names if not torch.equal(form.mixed(name, 1.0), form.base(name))]
    assert len(changed) > 200 and all(form.mixed(name, 1.0).dtype == DTYPES[live] for name in form.names)
    assert kind == "in_place" or same(model, before)
    host.unload()


@pytest.mark.parametrize("live", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["delta", "lora", "lokr"])
def test_without_autocast_in_the_dtype_of_the_network(folder: Path, tmp_path: Path, kind: str, live: str) -> None:
    host = StandaloneHost([folder], tmp_path / "out", device="cpu", dtype=live)
    model = host.load("sdxl")
    form = make(settings(kind), model, everything(model))
    with torch.no_grad(), form.attached():
        first = answer(model)
    assert torch.equal(first, answer(model))
    assert step(model, form) > step(model, form, checkpointing=True)
    host.unload()


def test_small_differences_are_not_lost(folder: Path, tmp_path: Path) -> None:
    """A thousandth of a bf16 step in each of many updates: beside the weight it adds up, in it it would not."""
    host = StandaloneHost([folder], tmp_path / "out", device="cpu", dtype="bf16")
    model = host.load("sdxl-bf16")
    name = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
    for kind in ("delta", "full"):
        form = make(settings(kind), model, [name])
        [tensor] = form.trainables().values()
        amount = 1e-3 * float(torch.finfo(torch.bfloat16).eps) * float(form.base(name).abs().mean())
        with torch.no_grad():
            for _ in range(100):
                tensor.add_(amount)
        assert float(form.difference(name).mean()) == pytest.approx(100 * amount, rel=0.02)
    host.unload()
