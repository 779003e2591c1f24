"""Updates during the backward pass are those after it; accumulation is a larger batch; clipping does what it says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.settings import Settings
from tests.training.optim.small import RATES, batch, groups, loss_of, network, same, train, trained, weights

HALF = torch.bfloat16


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", list(RATES))
def test_fused_is_unfused(name: str, accumulate: int) -> None:
    settings = Settings(name, clip=0.0, accumulate=accumulate)
    plain, reports = trained(settings, 12)
    fused, fused_reports = trained(replace(settings, fused=True), 12)
    for key, tensor in weights(plain).items():
        assert torch.allclose(tensor, weights(fused)[key], rtol=0, atol=1e-6), key
    assert not same(weights(plain), weights(network()))
    for one, other in zip(reports, fused_reports, strict=True):
        assert one.norm == pytest.approx(other.norm, rel=1e-5)
        assert one.moved == pytest.approx(other.moved, abs=0.02) and one.moved > 0.9


@pytest.mark.parametrize("name", list(RATES))
def test_fused_is_unfused_in_sixteen_bits(name: str) -> None:
    settings = Settings(name, clip=0.0)
    assert same(*(weights(trained(replace(settings, fused=fused), 6, HALF)[0]) for fused in (False, True)))


def test_fused_frees_each_gradient_during_the_backward_pass() -> None:
    net = network()
    optimiser = Optimiser(groups(net), Settings(fused=True, clip=0.0))
    optimiser.begin(0, {"a": 1e-3, "b": 1e-3})
    before = weights(net)
    optimiser.backward(loss_of(net, 0))
    assert all(p.grad is None and optimiser.weights[n].sum is None for n, p in net.named_parameters())
    assert not any(torch.equal(before[name], tensor) for name, tensor in weights(net).items())


@pytest.mark.parametrize("fused", [False, True])
def test_accumulation_is_a_larger_batch(fused: bool) -> None:
    def run(accumulate: int) -> dict[str, torch.Tensor]:
        net = network()
        optimiser = Optimiser(groups(net), Settings(accumulate=accumulate, fused=fused, clip=0.0))
        for step in range(5):
            optimiser.begin(step, {"a": 1e-3, "b": 1e-3})
            losses = [loss_of(net, step, number) for number in range(3)]
            for loss in losses if accumulate == 3 else [sum(losses) / 3]:
                optimiser.backward(loss)
            optimiser.finish()
        return weights(net)

    small, large = run(3), run(1)
    for key, tensor in small.items():
        assert torch.allclose(tensor, large[key], rtol=0, atol=1e-6), key


def test_sixteen_bit_gradients_are_summed_in_float32() -> None:
    """256 times 1 and then 1, 64 times: in bfloat16 the sum would stay at 256."""
    weight = torch.nn.Parameter(torch.ones(4, dtype=HALF))
    optimiser = Optimiser({"unet": {"w": weight}}, Settings(accumulate=65, clip=0.0))
    optimiser.begin(0, {"unet": 0.0})
    for number in range(65):
        optimiser.backward((weight * (256 if number == 0 else 1)).sum(), share=1.0)
    assert optimiser.finish().norm == pytest.approx(math.sqrt(4) * 320)


def test_clipping_of_all_tensors_together() -> None:
    """The reference is torch's own clipping and AdamW."""
    net, other = network(), network()
    optimiser = Optimiser(groups(net), Settings(clip=0.05))
    reference = torch.optim.AdamW(other.parameters(), lr=1e-3, weight_decay=0.01)
    for step in range(6):
        optimiser.begin(step, {"a": 1e-3, "b": 1e-3})
        optimiser.backward(loss_of(net, step))
        report = optimiser.finish()
        reference.zero_grad()
        loss_of(other, step).backward()
        norm = torch.nn.utils.clip_grad_norm_(other.parameters(), 0.05)
        reference.step()
        assert report.norm == pytest.approx(norm.item(), rel=1e-5) and report.clipped == 6
    for key, tensor in weights(net).items():
        assert torch.allclose(tensor, weights(other)[key], rtol=0, atol=1e-6), key


def test_fused_clipping_is_per_tensor() -> None:
    first, second = (torch.nn.Parameter(torch.zeros(4)) for _ in range(2))
    optimiser = Optimiser({"unet": {"a": first, "b": second}}, Settings("lion", fused=True, clip=1.0, betas=(0.0, 0.0)))
    optimiser.begin(0, {"unet": 0.1})
    optimiser.backward((first * 10).sum() + (second * 0.1).sum())
    report = optimiser.finish()
    assert report.clipped == 1 and report.norm == pytest.approx(math.sqrt(400 + 0.04))
    assert optimiser.weights["a"].state["mean"].norm().item() == pytest.approx(1.0)
    assert optimiser.weights["b"].state["mean"].norm().item() == pytest.approx(0.2)


def test_groups_have_rates_of_their_own() -> None:
    net = network()
    optimiser = Optimiser(groups(net), Settings(weight_decay=0.0))
    before = weights(net)
    optimiser.begin(0, {"a": 1e-3, "b": 0.0})
    optimiser.backward(loss_of(net, 0))
    assert 0 < optimiser.finish().moved < 1
    after = weights(net)
    assert {key for key in after if not torch.equal(before[key], after[key])} == {"0.weight", "0.bias"}
    with pytest.raises(BadInput, match="a, b"):
        optimiser.begin(1, {"a": 1e-3})


def test_order_of_calls_is_checked() -> None:
    net = network()
    optimiser = Optimiser(groups(net), Settings(accumulate=2))
    with pytest.raises(RuntimeError, match="begin"):
        optimiser.backward(loss_of(net, 0))
    optimiser.begin(0, {"a": 1.0, "b": 1.0})
    optimiser.backward(loss_of(net, 0))
    with pytest.raises(RuntimeError, match="backward passes"):
        optimiser.finish()
    with pytest.raises(RuntimeError, match="between two steps"):
        optimiser.state()


def test_hooks_go() -> None:
    net = network()
    Optimiser(groups(net), Settings()).close()
    net(batch(0)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_training_leaves_the_global_random_state_alone() -> None:
    net = network(HALF)
    optimiser = Optimiser(groups(net), Settings())
    before = torch.get_rng_state()
    train(net, optimiser, range(2))
    assert torch.equal(before, torch.get_rng_state())
