"""Figures that kohya's own functions gave, at t = 0, 10, 146, 354, 500, 750, 900, 998, 999."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training.losses import Loss, per_item, threshold
from lib_astolfo.training.objective import make
from lib_astolfo.training.times import Moments, at_timestep
from lib_astolfo.training.weights import Weights, weight

STEPS = torch.tensor([0, 10, 146, 354, 500, 750, 900, 998, 999])
EPS, V, ZERO = Sampling(), Sampling("v"), Sampling("v", zero_terminal_snr=True)
PAPER = Weights("min_snr", form="paper")
ASKED = Weights("min_snr", form="paper", paper_with_ztsnr=True)
WEIGHTED = [
    (EPS, PAPER, ".00425372 .0483057 .999306 1 1 1 1 1 1"),
    (V, PAPER, ".00425011 .0478435 .832852 .499817 .276332 .0561698 .0141511 .0047167 .00466009"),
    (EPS, Weights("debiased"), ".0316228 .0982911 .447058 1.00037 1.61828 4.09917 8.3466 14.5263 14.6146"),
    (V, Weights("debiased"), ".000999001 .00956869 .16657 .500183 .723668 .94383 .985849 .995283 .99534"),
    (ZERO, ASKED, ".00425011 .0510314 .821873 .469952 .241019 .0327991 .00296039 1.96796e-7 0"),
]
LEVELS = [
    (EPS, ".99915 .990431 .83343 .499817 .276332 .0561698 .0141511 .0047167 .0046601"),
    (ZERO, ".99915 .989794 .821873 .469952 .241019 .0327991 .00296039 1.96796e-7 0"),
]
SNR = [
    (EPS, "1175.44 103.507 5.00347 .999269 .38185 .0595126 .0143543 .00473905 .00468191"),
    (ZERO, "1175.44 96.9789 4.61398 .88662 .317555 .0339113 .00296918 1.96796e-7 0"),
]
NOISY = [
    (EPS, ".470632 .399782 .0483316 -.353747 -.58785 -.853008 -.93342 -.9633 -.963535"),
    (ZERO, ".470632 .396416 .0312353 -.385279 -.625727 -.892911 -.971314 -.999778 -1"),
]
TARGETS = [
    (V, "-1.01415 -1.04411 -1.11699 -1.0606 -.951017 -.722756 -.615408 -.567498 -.567098"),
    (ZERO, "- - - - - -.672837 -.553669 -.500444 -.5"),
]
HUBER = [
    ("exponential", "1 .977237 .714496 .442588 .316228 .177828 .125893 .100462 .100231"),
    ("snr", ".949709 .846118 .529804 .324918 .231284 .134613 .110302 .103733 .103691"),
    ("constant", ".1 .1 .1 .1 .1 .1 .1 .1 .1"),
]


def close(found: Tensor, figures: str) -> None:
    """Within 1e-5 and a float32's rounding of 1 - ᾱ and ᾱ, in which the figures were computed; a dash is no figure."""
    for value, text in zip(found.tolist(), figures.split(), strict=True):
        if text == "-":
            continue
        expected = float(text)
        fine = 0.002 < abs(expected) < 50.0
        allowed = 1e-5 * abs(expected) + 1e-6 if fine else 1e-4 * abs(expected)
        assert abs(value - expected) <= allowed, (value, text)


def test_the_ruler_is_strict() -> None:
    close(torch.tensor([0.5001]), ".5001")
    with pytest.raises(AssertionError):
        close(torch.tensor([0.50001]), ".500000")
    with pytest.raises(AssertionError):
        close(torch.tensor([1.9683e-7]), "1.96796e-7")


@pytest.mark.parametrize(("sampling", "figures"), LEVELS)
def test_levels(sampling: Sampling, figures: str) -> None:
    close(at_timestep(STEPS, sampling).alpha ** 2, figures)


@pytest.mark.parametrize(("sampling", "figures"), SNR)
def test_signal_to_noise(sampling: Sampling, figures: str) -> None:
    close(at_timestep(STEPS, sampling).snr, figures)


@pytest.mark.parametrize(("sampling", "weights", "figures"), WEIGHTED)
def test_weights(sampling: Sampling, weights: Weights, figures: str) -> None:
    close(weight(at_timestep(STEPS, sampling), weights, sampling), figures)


def test_weights_that_keep_the_terminal_step() -> None:
    moments = at_timestep(STEPS, ZERO)
    for form in ("auto", "floor", "diffusers"):
        found = weight(moments, Weights("min_snr", form=form), ZERO)
        assert found[-1] == 1.0
        assert bool(torch.isfinite(found).all())
    snr = moments.snr
    floor = torch.maximum(snr.clamp(max=5.0), torch.ones(())) / (snr + 1.0)
    assert torch.equal(weight(moments, Weights("min_snr"), ZERO), floor)
    diffusers = torch.minimum(snr + 1.0, torch.tensor(5.0)) / (snr + 1.0)
    assert torch.equal(weight(moments, Weights("min_snr", form="diffusers"), ZERO), diffusers)
    assert weight(moments, Weights("debiased"), ZERO)[-1] == 1.0


def test_mean_weights_over_uniform_time() -> None:
    every = torch.arange(1000)
    means = [float(weight(at_timestep(every, s), w, s).mean()) for s, w in ((EPS, PAPER), (V, PAPER), (ZERO, ASKED))]
    assert means == pytest.approx([0.917, 0.294, 0.278], abs=5e-4)


def batch(value: float) -> Tensor:
    return torch.full((len(STEPS), 1, 1, 1), value)


@pytest.mark.parametrize(("sampling", "figures"), NOISY)
def test_inputs(sampling: Sampling, figures: str) -> None:
    made = make(batch(0.5), batch(-1.0), at_timestep(STEPS, sampling), sampling)
    close(made.input.flatten(), figures)
    assert torch.equal(made.timestep, STEPS.float())


@pytest.mark.parametrize(("sampling", "figures"), TARGETS)
def test_targets(sampling: Sampling, figures: str) -> None:
    close(make(batch(0.5), batch(-1.0), at_timestep(STEPS, sampling), sampling).target.flatten(), figures)


@pytest.mark.parametrize(("schedule", "figures"), HUBER)
def test_thresholds(schedule: str, figures: str) -> None:
    close(threshold(Loss("huber", huber_schedule=schedule), at_timestep(STEPS, EPS)), figures)


@pytest.mark.parametrize("kind", ["mse", "l1", "huber", "smooth_l1"])
def test_distances(kind: str) -> None:
    moments = Moments(torch.tensor([500.0]), torch.tensor([0.6]).double(), torch.tensor([0.8]).double())
    loss = Loss(kind, huber_c=0.25, huber_schedule="constant", huber_scale=2.0)
    found = float(per_item(torch.tensor([[1.5, 1.0]]), torch.tensor([[0.0, 1.0]]), moments, loss))
    root = math.sqrt(1.5**2 + 0.5**2) - 0.5
    assert found == pytest.approx({"mse": 2.25, "l1": 1.5, "huber": root, "smooth_l1": 2 * root}[kind] / 2)
    masked = per_item(torch.tensor([[1.5, 1.0]]), torch.zeros(1, 2), moments, loss, mask=torch.tensor([[0.0, 1.0]]))
    alone = per_item(torch.tensor([[1.0]]), torch.zeros(1, 1), moments, loss)
    assert float(masked) == pytest.approx(float(alone) / 2)


def test_losses_are_float32_for_low_precision_and_differentiable() -> None:
    output = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    moments = at_timestep(torch.tensor([0, 999]), ZERO)
    for kind in ("mse", "l1", "huber", "smooth_l1"):
        found = per_item(output, torch.zeros(2, 3), moments, Loss(kind))
        assert found.dtype == torch.float32
        found.sum().backward()
    assert output.grad is not None
    assert bool(torch.isfinite(output.grad).all())
