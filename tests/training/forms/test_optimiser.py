"""Forms under the real optimiser: updates in the backward pass, stochastic rounding, subsets, taking part in turns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_astolfo.errors import Failed
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.forms.form import Form
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.forms.settings import KINDS
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.selection import Group, choose
from lib_astolfo.training.optim.settings import Settings
from tests.training.forms.steps import answer, copied, everything, settings, unet


def optimised(form: Form, *, fused: bool, checkpointing: bool, steps: int = 2) -> dict[str, Tensor]:
    """The trained tensors after steps of two passes each; the form is put back."""
    optimiser = Optimiser(form.grouped({"all": form.names}), Settings(fused=fused, clip=0.0, accumulate=2))
    for number in range(steps):
        optimiser.begin(number, {"all": 1e-3})
        for _ in range(2):
            with form.model.training(), form.attached(checkpointing=checkpointing):
                with torch.autocast("cpu", torch.bfloat16, enabled=form.settings.dtype == "bf16"):
                    loss = answer(form.model).square().mean()  # type: ignore[arg-type]
                optimiser.backward(loss)
        report = optimiser.finish()
        assert not report.skipped and report.moved > 0.2
    optimiser.close()
    found = {name: tensor.detach().clone() for name, tensor in form.trainables().items()}
    form.discard()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_updates_in_the_backward_pass(host: StandaloneHost, kind: str) -> None:
    """Of tensors that the pass still uses: fused projections, checkpointed blocks, encoders that run twice."""
    model = host.load("sdxl")
    plain = optimised(make(settings(kind), model, everything(model)), fused=False, checkpointing=False)
    fused = optimised(make(settings(kind), model, everything(model)), fused=True, checkpointing=True)
    for name, tensor in plain.items():
        torch.testing.assert_close(fused[name], tensor, rtol=1e-4, atol=2e-5, msg=name)


def test_bf16_in_place_moves_by_stochastic_rounding(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    before = copied(model)
    form = make(settings("full", dtype="bf16"), model, unet(model))
    trained = optimised(form, fused=True, checkpointing=True)
    moved = [bool((tensor != before[name].to(torch.bfloat16)).any()) for name, tensor in trained.items()]
    assert all(moved) and {tensor.dtype for tensor in trained.values()} == {torch.bfloat16}


@pytest.mark.parametrize("kind", ["full", "delta", "lora"])
def test_chosen_blocks_alone_are_trained(host: StandaloneHost, kind: str) -> None:
    model = host.load("sdxl")
    chosen = choose([Group("mid", ("M00",), 1e-3), Group("text", ("te1",), 1e-4)], model.weights(), model.layout)
    form = make(settings(kind), model, [name for names in chosen.values() for name in names])
    assert all(".middle_block." in name or ".embedders.0." in name for name in form.names)
    groups = form.grouped(chosen)
    optimiser = Optimiser(groups, Settings())
    optimiser.begin(0, {"mid": 1e-2, "text": 0.0})
    with model.training(), form.attached(checkpointing=True):
        optimiser.backward(answer(model).square().mean())
    optimiser.finish()
    optimiser.close()
    changed = {name for name in form.names if not torch.equal(form.mixed(name, 1.0), form.base(name))}
    assert changed and all(".middle_block." in name for name in changed)


def test_a_model_that_its_host_took_apart(host: StandaloneHost) -> None:
    """As reForge does with the one before, when it loads another."""
    model = host.load("sdxl")
    form = make(settings("delta"), model, unet(model))
    conv = model.roots()["unet"].conv_in
    own, conv._parameters["weight"] = conv._parameters["weight"], None
    with pytest.raises(Failed, match="freed"):
        form.verify()
    conv._parameters["weight"] = own
    form.verify()
