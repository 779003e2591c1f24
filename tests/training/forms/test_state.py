"""Resuming, discarding, and telling whether the model below is still the one that was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.forms.settings import KINDS, FormSettings
from lib_astolfo.training.forms.shown import Shown
from tests.training.forms.steps import answer, copied, everything, same, settings, step, stirred, trained, unet

BESIDE = tuple(kind for kind in KINDS if kind != "in_place")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_resumed_run_is_the_same_bit_for_bit(host: StandaloneHost, kind: str, dtype: str) -> None:
    model = host.load("sdxl")
    half = torch.bfloat16 if dtype == "bf16" else None
    form = make(settings(kind, dtype=dtype), model, everything(model))
    step(model, form, autocast=half)
    tensors, values = form.state()
    saved = {name: tensor.clone() for name, tensor in tensors.items()}
    step(model, form, autocast=half)
    wanted = {name: tensor.detach().clone() for name, tensor in form.trainables().items()}
    form.discard()
    again = make(settings(kind, dtype=dtype), model, everything(model))
    again.load(saved, values)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in again.trainables().items())
    step(model, again, autocast=half)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in again.trainables().items())
    again.discard()


def test_another_state_is_refused(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    form = stirred(model, "lora")
    tensors, values = form.state()
    with pytest.raises(BadInput, match=r"form\.rank"):
        make(settings("lora", rank=3), model, everything(model)).load(tensors, values)
    with pytest.raises(BadInput, match="other tensors"):
        make(settings("lora"), model, unet(model)).load(tensors, values)
    odd = dict(tensors) | {next(iter(tensors)): torch.zeros(1)}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    with pytest.raises(BadInput, match=next(iter(tensors))):
        form.load(odd, values)
    assert all(torch.equal(tensor, before[name]) for name, tensor in form.trainables().items())


@pytest.mark.parametrize("kind", BESIDE)
def test_whatever_writes_into_the_model_is_found(host: StandaloneHost, kind: str) -> None:
    model = host.load("sdxl")
    form = stirred(model, kind)
    step(model, form)
    shown = Shown(form, ratio=0.5)
    shown.begin()
    shown.end()
    form.verify()
    weight = model.weights()[form.names[len(form.names) // 2]]
    before = weight.clone()
    with torch.no_grad():
        weight.mul_(1.5)
    with pytest.raises(Failed, match="other values"):
        form.verify()
    with pytest.raises(Failed, match="other values"):
        form.verify()
    with torch.no_grad():
        weight.copy_(before)
    form.verify()
    weight.data.mul_(2.0)
    with pytest.raises(Failed, match="other values"):
        for _ in range(len(form.names)):
            form.verify()


def test_moving_the_weights_is_no_change(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    form = stirred(model, "delta")
    for parameter in model.roots()["unet"].parameters():
        parameter.data = parameter.data.clone()
    form.verify()
    with torch.inference_mode():
        for parameter in model.roots()["unet"].parameters():
            parameter.data = parameter.data.clone()
    form.verify()
    step(model, form)
    form.verify()


def test_another_model(host: StandaloneHost) -> None:
    forms = [stirred(host.load("sdxl"), kind) for kind in ("delta", "in_place")]
    host.load("sd1")
    for form in forms:
        with pytest.raises(Failed):
            form.verify()


def test_in_place_discards_by_reading_the_file(folder: Path, host: StandaloneHost) -> None:
    model = host.load("sdxl-bf16")
    before, base = copied(model), answer(model)
    form = trained(model, "in_place")
    assert not same(model, before)
    assert all(form.trainables()[name].data_ptr() == model.weights()[name].data_ptr() for name in form.names)
    for parameter in model.roots()["unet"].parameters():
        parameter.data = parameter.data.clone()
    loss = step(model, form)
    assert step(model, form) < loss
    unet_weight = model.roots()["unet"].conv_in.weight
    assert torch.equal(unet_weight, form.trainables()["model.diffusion_model.input_blocks.0.0.weight"])
    form.discard()
    assert torch.equal(answer(model), base)


def test_in_place_needs_what_the_file_says(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    with torch.no_grad():
        model.weights()["model.diffusion_model.out.2.bias"].add_(1)
    with pytest.raises(Failed, match=r"out\.2\.bias is not what the model's file says"):
        make(FormSettings("in_place"), model, everything(model))
    make(FormSettings("delta"), model, everything(model)).verify()
