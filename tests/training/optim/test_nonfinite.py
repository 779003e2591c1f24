"""What is not finite never reaches a weight."""

from __future__ import annotations

import math

import pytest
import torch

from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.settings import Settings
from tests.training.optim.small import groups, loss_of, network, same, train, weights

BAD = [math.nan, math.inf, -math.inf]


def everything(net: torch.nn.Module, optimiser: Optimiser) -> dict[str, torch.Tensor]:
    """Weights and state, copied."""
    state = {name: tensor.clone() for name, tensor in optimiser.state()[0].items()}
    return {**weights(net), **state}


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("fused", [False, True])
def test_a_bad_loss_skips_the_step(fused: bool, value: float) -> None:
    net = network()
    optimiser = Optimiser(groups(net), Settings(fused=fused, accumulate=2))
    train(net, optimiser, range(2))
    before = everything(net, optimiser)
    for step in (2, 3):
        optimiser.begin(step, {"a": 1e-3, "b": 1e-3})
        assert optimiser.backward(loss_of(net, step))
        assert not optimiser.backward(loss_of(net, step, 1) * value)
        report = optimiser.finish()
        assert same(before, everything(net, optimiser))
        assert "the loss of pass 2" in report.skipped and report.moved == 0
        assert (report.in_all, report.in_a_row) == (step - 1, step - 1)
    assert train(net, optimiser, range(4, 5))[0].in_a_row == 0 and optimiser.skipped == 2
    assert not same(before, everything(net, optimiser))


@pytest.mark.parametrize("value", BAD)
def test_one_bad_element_of_one_gradient_skips_the_step(value: float) -> None:
    net = network()
    optimiser = Optimiser(groups(net), Settings())
    train(net, optimiser, range(2))
    before = everything(net, optimiser)
    poison(net, optimiser, value)
    report = optimiser.finish()
    assert same(before, everything(net, optimiser))
    assert "4.weight was not finite" in report.skipped and report.in_all == 1 and math.isnan(report.norm)


def test_fused_leaves_out_the_tensor_and_says_so() -> None:
    net = network()
    optimiser = Optimiser(groups(net), Settings(fused=True))
    train(net, optimiser, range(2))
    before = everything(net, optimiser)
    poison(net, optimiser, math.nan)
    report = optimiser.finish()
    after = everything(net, optimiser)
    assert report.left_out == ("4.weight",) and not report.skipped and report.in_all == 0
    assert {key for key in after if torch.equal(before[key], after[key])} >= {"4.weight", "4.weight|mean"}
    assert not torch.equal(before["0.weight"], after["0.weight"])
    assert all(tensor.isfinite().all() for tensor in after.values())


def test_a_bad_activation_at_some_step() -> None:
    """A forward pass that overflows gives a loss that is not finite; the run goes on with the next step."""
    net = network()
    optimiser = Optimiser(groups(net), Settings())
    handle = net[1].register_forward_hook(lambda module, args, out: out * math.inf)
    before = weights(net)
    assert train(net, optimiser, range(1))[0].skipped
    assert same(before, weights(net))
    handle.remove()
    assert not train(net, optimiser, range(1, 2))[0].skipped


def test_a_loss_without_trained_tensors_is_told() -> None:
    net = network()
    optimiser = Optimiser(groups(net), Settings())
    optimiser.begin(0, {"a": 1e-3, "b": 1e-3})
    optimiser.backward(torch.zeros((), requires_grad=True) * 1.0)
    assert optimiser.finish().skipped == "no trained tensor had a gradient"


def poison(net: torch.nn.Module, optimiser: Optimiser, value: float) -> None:
    """A step whose loss is finite, but one gradient of which has a bad element."""

    def spoil(grad: torch.Tensor) -> torch.Tensor:
        grad = grad.clone()
        grad[2, 3] = value
        return grad

    handle = net[4].weight.register_hook(spoil)
    optimiser.begin(2, {"a": 1e-3, "b": 1e-3})
    assert optimiser.backward(loss_of(net, 2))
    handle.remove()
