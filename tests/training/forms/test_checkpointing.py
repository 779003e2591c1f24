"""Blocks computed again in the backward pass: same gradients, in every network's own classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.forms.form import Form
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.forms.settings import KINDS
from tests.training.forms.peers import Peer, peer
from tests.training.forms.steps import answer, everything, settings, step

BESIDE = tuple(kind for kind in KINDS if kind != "in_place")


def gradients(form: Form, loss: Tensor) -> dict[str, Tensor]:
    loss.backward()
    found = {name: p.grad for name, p in form.trainables().items() if p.grad is not None}
    for parameter in form.trainables().values():
        parameter.grad = None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_same_gradients_and_less_memory(host: StandaloneHost, kind: str) -> None:
    model = host.load("sdxl")
    form = make(settings(kind), model, everything(model))
    step(model, form)
    held: dict[bool, int] = {}
    found = {}
    for checkpointing in (False, True):
        saved: dict[int, int] = {}

        def pack(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            saved[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with model.training(), form.attached(checkpointing=checkpointing):
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                loss = answer(model).square().mean()
            held[checkpointing] = sum(saved.values())
            found[checkpointing] = gradients(form, loss)
    assert found[True].keys() == found[False].keys() and len(found[True]) > 200
    for name, grad in found[False].items():
        torch.testing.assert_close(found[True][name], grad, rtol=1e-4, atol=1e-7)
    assert held[True] < 0.7 * held[False]


def answered(model: Peer, form: Form, *, checkpointing: bool) -> tuple[dict[str, Tensor], list[str]]:
    model.counted.clear()
    with model.training(), form.attached(checkpointing=checkpointing):
        found = gradients(form, model.answer().square().mean())
    return found, list(model.counted)


@pytest.mark.parametrize("kind", BESIDE)
def test_blocks_of_ldm_that_would_checkpoint_themselves(kind: str) -> None:
    """Their own way would lose gradients that are not their parameters'; its flags are put back."""
    model = peer()
    form = make(settings(kind), model, list(model.weights()))
    assert not set(form.names) & set(form.left_out)
    with torch.no_grad():
        for tensor in form.trainables().values():
            tensor.add_(0.01)
    plain, once = answered(model, form, checkpointing=False)
    again, twice = answered(model, form, checkpointing=True)
    assert len(once) == 4 and len(twice) == 8 and set(once) == {"res", "transformer"}
    assert plain.keys() == again.keys() == form.trainables().keys()
    for name, grad in plain.items():
        torch.testing.assert_close(again[name], grad, rtol=1e-4, atol=1e-7)
        assert bool(grad.any()), name
    blocks = [m for m in model.unet.modules() if hasattr(m, "use_checkpoint") or hasattr(m, "checkpoint")]
    assert len(blocks) == 4 and all(
        getattr(m, "use_checkpoint", True) and getattr(m, "checkpoint", True) for m in blocks
    )


def test_no_random_number_is_spent_or_set_back(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    form = make(settings("delta"), model, everything(model))
    state = torch.get_rng_state()
    step(model, form, checkpointing=True)
    assert torch.equal(torch.get_rng_state(), state)
    with model.training(), form.attached(checkpointing=True):
        loss = answer(model).square().mean()
        torch.rand(1)
        state = torch.get_rng_state()
        loss.backward()
    assert torch.equal(torch.get_rng_state(), state)


def test_without_gradients_nothing_is_wrapped(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    form = make(settings("delta"), model, everything(model))
    base = answer(model)
    with torch.no_grad(), form.attached(checkpointing=True):
        found = answer(model)
    assert torch.equal(found, base) and not found.requires_grad


@pytest.mark.parametrize("kind", BESIDE)
def test_open_clip_as_a1111_has_it(kind: str) -> None:
    """Weights that are read without a layer's forward: against the weights written into the network."""
    model = peer()
    before = {name: tensor.clone() for name, tensor in model.weights().items()}
    form = make(settings(kind), model, [name for name in before if "embedders" in name])
    fused = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"
    assert fused in form.names and any(name.endswith("out_proj.weight") for name in form.names)
    if kind in ("delta", "full"):
        assert set(form.names) == {name for name in before if "embedders" in name} and not form.left_out
    with torch.no_grad():
        for tensor in form.trainables().values():
            tensor.add_(0.02)
    with form.attached():
        found = model.answer().detach()
    mixed = {name: form.mixed(name, 1.0) for name in form.names}
    for name, live in model.weights().items():
        assert torch.equal(live, before[name])
        live.copy_(mixed.get(name, live))
    torch.testing.assert_close(found, model.answer(), rtol=1e-4, atol=1e-5)
    for name, live in model.weights().items():
        live.copy_(before[name])
    with model.training(), form.attached():
        for _ in range(2):
            model.answer().square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in form.trainables().values())
