"""Attached forms compute what they say, gradients reach what is trained, and nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone.model import StandaloneModel
from lib_astolfo.training.forms.adapters import Adapter
from lib_astolfo.training.forms.form import Form
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.forms.settings import KINDS, FormSettings
from tests.training.forms.steps import answer, copied, everything, same, settings, step, trained, unet

BESIDE = tuple(kind for kind in KINDS if kind != "in_place")


def tables(model: StandaloneModel) -> list[Any]:
    """Identity of everything that attaching could replace."""
    modules = [module for root in model.roots().values() for module in root.modules()]
    found: list[Any] = [id(held) for module in modules for held in module._parameters.values()]
    return found + [sorted(module.__dict__) for module in modules]


def tensors(model: StandaloneModel, form: Form) -> dict[str, Tensor]:
    """The trained weights of the model with their own values elsewhere."""
    return model.weights() | {name: form.mixed(name, 1.0) for name in form.names}


def computed(model: StandaloneModel, weights: dict[str, Tensor]) -> Tensor:
    """What the network says with these weights written into it; its own are put back."""
    before = copied(model)
    with torch.no_grad():
        for name, live in model.weights().items():
            live.copy_(weights[name])
        found = answer(model)
        for name, live in model.weights().items():
            live.copy_(before[name])
    return found


@pytest.mark.parametrize("name", ["sdxl", "sd1"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_computes_with_the_trained_weights(host: StandaloneHost, name: str, kind: str) -> None:
    model = host.load(name)
    before, base, ids = copied(model), answer(model), tables(model)
    form = make(settings(kind), model, everything(model))
    with form.attached():
        first = answer(model).detach()
    torch.testing.assert_close(first, base, rtol=0, atol=0)
    losses = [step(model, form) for _ in range(3)]
    assert losses[2] < losses[0]
    with form.attached():
        after = answer(model).detach()
    assert float((after - base).abs().max()) > 1e-3
    torch.testing.assert_close(after, computed(model, tensors(model, form)), rtol=1e-4, atol=1e-5)
    assert tables(model) == ids
    if kind != "in_place":
        assert same(model, before) and torch.equal(answer(model), base)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_weights(host: StandaloneHost, kind: str) -> None:
    """Against the gradients of the whole weights, by the chain rule."""
    model = host.load("sdxl")
    form = trained(model, kind, steps=1)
    whole = make(FormSettings("full"), model, everything(model))
    with torch.no_grad():
        for name in form.names:
            whole.trainables()[name].copy_(form.mixed(name, 1.0))
    for one in (form, whole):
        with model.training(), one.attached():
            answer(model).square().mean().backward()
    wanted = {name: parameter.grad for name, parameter in whole.trainables().items()}
    assert sum(grad is not None for grad in wanted.values()) > 500
    if not isinstance(form, Adapter):
        for name, parameter in form.trainables().items():
            assert (parameter.grad is None) == (wanted[name] is None)
            torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-3, atol=1e-6)
        return
    for unit in form.units:
        parts, grad = form.parts(unit), wanted[unit.weight]
        if grad is not None:
            change = form.product(unit, parts) * form.scale_of(unit)
            grad = grad if unit.rows is None else grad.narrow(0, *unit.rows)
            expected = torch.autograd.grad(change, list(parts.values()), grad.view(change.shape))
            for (part, tensor), right in zip(parts.items(), expected, strict=True):
                torch.testing.assert_close(tensor.grad, right, rtol=1e-3, atol=1e-6, msg=f"{unit.name} {part}")


@pytest.mark.parametrize("kind", KINDS)
def test_after_an_exception_everything_is_back(host: StandaloneHost, kind: str) -> None:
    model = host.load("sdxl")
    form = trained(model, kind, steps=1)
    ids, outside = tables(model), answer(model)
    last = list(model.roots()["unet"].modules())[-1]

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    hook = last.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError), form.attached(checkpointing=True):
        answer(model)
    hook.remove()
    assert tables(model) == ids and torch.equal(answer(model), outside)
    with form.attached(), pytest.raises(RuntimeError, match="other weights stand"), form.attached():
        pass
    with form.attached():
        assert not torch.equal(answer(model), outside) or kind == "in_place"
    assert tables(model) == ids


def test_a_forward_that_was_there_before_is_called_and_stays(host: StandaloneHost) -> None:
    model = host.load("sd1")
    layer = next(m for m in model.roots()["unet"].modules() if isinstance(m, torch.nn.Linear))
    own, calls = layer.forward, []

    def patched(x: Tensor) -> Tensor:
        calls.append(x.shape)
        return own(x)

    layer.forward = patched  # type: ignore[method-assign]
    for kind in ("delta", "lora"):
        form = make(settings(kind), model, unet(model))
        calls.clear()
        with form.attached():
            answer(model)
        assert len(calls) == 1 and layer.__dict__["forward"] is patched
    with form.attached({name: torch.ones_like(t) for name, t in form.trainables().items()}):
        assert layer.__dict__["forward"] is not patched


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_made_in_inference_mode(host: StandaloneHost, kind: str) -> None:
    """As reForge leaves them, which moves weights inside of it; more than one layer, or nothing would be saved."""
    model = host.load("sdxl")
    form = make(settings(kind), model, everything(model))
    base = answer(model)
    with torch.inference_mode():
        for root in model.roots().values():
            for module in root.modules():
                for held in module._parameters.values():
                    if held is not None:
                        held.data = held.data.clone()
                for name, buffer in module._buffers.items():
                    module._buffers[name] = None if buffer is None else buffer.clone()
    assert sum(p.is_inference() for p in model.roots()["unet"].parameters()) > 200
    losses = [step(model, form, checkpointing=True) for _ in range(3)]
    assert losses[2] < losses[0]
    form.verify()
    if kind != "in_place":
        torch.testing.assert_close(answer(model), base, rtol=0, atol=0)
    form.discard()


@pytest.mark.parametrize("kind", BESIDE)
def test_outside_the_network_is_the_teacher(host: StandaloneHost, kind: str) -> None:
    """Frozen parameters get no gradients, also where the host had left them with some."""
    model = host.load("sdxl")
    for parameter in model.roots()["unet"].parameters():
        parameter.requires_grad_(True)
    form = make(settings(kind), model, unet(model))
    base = answer(model).detach()
    for _ in range(2):
        step(model, form)
        assert torch.equal(answer(model).detach(), base)
    owned = list(model.roots()["unet"].parameters())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in owned)


def test_values_stand_for_trained_tensors(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    for kind in KINDS:
        form = trained(model, kind, steps=1)
        average = {name: tensor.detach() * 0.5 for name, tensor in form.trainables().items()}
        with form.attached(average):
            found = answer(model).detach()
        with form.attached():
            assert not torch.equal(answer(model), found)
        weights = model.weights() | {name: form.mixed(name, 1.0, average) for name in form.names}
        torch.testing.assert_close(found, computed(model, weights), rtol=1e-4, atol=1e-5)
        with pytest.raises(BadInput, match="another"), form.attached({"another": torch.zeros(2)}):
            pass
        form.discard()


def test_what_cannot_be_trained_is_told(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    names = everything(model)
    form = make(FormSettings("lora", rank=2), model, names)
    assert set(form.names) | set(form.left_out) == set(names) and not set(form.names) & set(form.left_out)
    assert "conv_rank is 0" in form.left_out["model.diffusion_model.input_blocks.0.0.weight"]
    assert "parameter" in form.left_out["conditioner.embedders.1.model.logit_scale"]
    with pytest.raises(BadInput, match="nothing that lora can train"):
        make(FormSettings("lora"), model, ["model.diffusion_model.out.0.weight"])
    with pytest.raises(BadInput, match="does not have"):
        make(FormSettings(), model, ["model.diffusion_model.out.9.weight"])


def test_groups_of_names_are_groups_of_trained_tensors(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    te1 = [name for name in everything(model) if ".embedders.0." in name]
    for kind in ("delta", "lokr"):
        form = make(settings(kind), model, everything(model))
        groups = form.grouped({"unet": unet(model), "text": te1, "none": []})
        assert set(groups) == {"unet", "text"}
        assert len(groups["unet"]) > len(groups["text"]) > 5
        assert all(form.sources()[name] in te1 for name in groups["text"])
        assert all(parameter is form.trainables()[name] for name, parameter in groups["unet"].items())


@pytest.mark.parametrize(
    "wrong", [{"kind": "lo"}, {"dtype": "fp8"}, {"kind": "lora", "rank": 0}, {"factor": 0}, {"alpha": -1.0}]
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"form\."):
        FormSettings(**wrong)
    assert FormSettings("delta", rank=4).notes() == ("form.rank has no effect with delta",)
    assert not FormSettings("lokr", rank=4, factor=2).notes()
