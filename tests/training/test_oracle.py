"""Trained on Gaussian pictures, every objective reaches the loss that mathematics allows, and no less.

The expected figures are computed here from the schedule's definition, without the library's tables.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training.bins import against_oracle, curve, oracle, picture_error
from lib_astolfo.training.losses import Loss, per_item
from lib_astolfo.training.objective import Objective, read
from lib_astolfo.training.times import Moments, Times
from lib_astolfo.training.weights import Weights, weight
from tests.training.gauss import Batch, Linear, batch, spectrum, stratified

MODES = spectrum()
EPS, V, ZERO, RF = Sampling(), Sampling("v"), Sampling("v", True), Sampling("rf")
TRAINING = 6  # batches
WITHIN = 0.03


def squares(terminal: bool) -> Tensor:
    """ᾱ_t from the definition, in float64."""
    root = (1.0 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).double() ** 2).cumprod(0).sqrt()
    if terminal:
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root**2


def least(terminal: bool, weigh: Callable[[Tensor], Tensor], eps: bool = False) -> float:
    """The mean over timesteps and modes of weight s/(α²s+σ²), times α² for eps."""
    a2 = squares(terminal)[:, None]
    s = MODES[None, :]
    each = s / (a2 * s + 1.0 - a2) * (a2 if eps else 1.0)
    return float((each.mean(dim=1) * weigh((a2 / (1.0 - a2))[:, 0])).mean())


def least_flow(t: Tensor) -> float:
    """The mean over ``t`` and modes of s/((1-t)²s+t²)."""
    t = t[:, None]
    return float((MODES / ((1.0 - t) ** 2 * MODES + t**2)).mean())


GRID = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
NORMAL = torch.sigmoid(torch.special.ndtri(GRID))
ONE = torch.ones_like
CASES: dict[str, tuple[Objective, float]] = {
    "eps": (stratified(EPS), least(False, ONE, eps=True)),
    "eps min-SNR": (
        stratified(EPS, weights=Weights("min_snr")),
        least(False, lambda snr: snr.clamp(max=5.0) / snr, eps=True),
    ),
    "eps debiased": (
        stratified(EPS, weights=Weights("debiased")),
        least(False, lambda snr: snr.clamp(max=1000.0) ** -0.5, eps=True),
    ),
    "v": (stratified(V), least(False, ONE)),
    "v ZTSNR": (stratified(ZERO), least(True, ONE)),
    "v ZTSNR min-SNR": (
        stratified(ZERO, weights=Weights("min_snr", form="paper", paper_with_ztsnr=True)),
        least(True, lambda snr: snr.clamp(max=5.0) / (snr + 1.0)),
    ),
    "v ZTSNR min-SNR floor": (
        stratified(ZERO, weights=Weights("min_snr")),
        least(True, lambda snr: snr.clamp(1.0, 5.0) / (snr + 1.0)),
    ),
    "rf logit-normal": (stratified(RF, "logit_normal"), least_flow(NORMAL)),
    "rf uniform": (stratified(RF), least_flow(GRID)),
    "rf shift 3": (stratified(Sampling("rf", shift=3.0)), least_flow(3.0 * GRID / (1.0 + 2.0 * GRID))),
    "rf without stratification": (Objective(RF, Times("logit_normal")), least_flow(NORMAL)),
}


@functools.cache
def trained(name: str) -> Linear:
    objective, _ = CASES[name]
    network = Linear(len(MODES))
    for step in range(TRAINING):
        made = batch(objective, MODES, step)
        network.learn(made.made, weight(made.moments, objective.weights, objective.sampling))
    network.solve()
    return network


@functools.cache
def seen(name: str) -> tuple[Linear, Batch, Tensor, Tensor]:
    """The trained network, a batch it has not learnt from, its outputs and its unweighted losses there."""
    network, fresh = trained(name), batch(CASES[name][0], MODES, 99)
    output = network(fresh.made.input, fresh.made.timestep)
    return network, fresh, output, per_item(output, fresh.made.target, fresh.moments, Loss())


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_the_oracles(name: str) -> None:
    objective, expected = CASES[name]
    _, fresh, _, losses = seen(name)
    weights = weight(fresh.moments, objective.weights, objective.sampling)
    found = float((losses.double() * weights).mean())
    assert found == pytest.approx(expected, rel=WITHIN)


@pytest.mark.parametrize("name", ["eps", "v", "v ZTSNR", "rf uniform"])
def test_the_gains_are_those_of_regression(name: str) -> None:
    """Cov(F, z) / Var(z) by hand: a network that had learnt another sign would reach the same loss."""
    network = trained(name)
    timestep = torch.arange(104, 1000, 8)  # the network's knots
    if name == "rf uniform":
        t = (timestep / 1000.0).double()[:, None]
        expected = (t - (1.0 - t) * MODES) / ((1.0 - t) ** 2 * MODES + t**2)
    else:
        a2 = squares(name == "v ZTSNR")[timestep][:, None]
        a, s = a2.sqrt(), (1.0 - a2).sqrt()
        covariance = s if name == "eps" else a * s * (1.0 - MODES)
        expected = covariance / (a2 * MODES + 1.0 - a2)
    assert float((network.gain(timestep.float()) - expected).abs().mean()) < 0.03


@pytest.mark.parametrize("name", CASES)
def test_the_picture_is_read_as_well_as_can_be(name: str) -> None:
    objective, _ = CASES[name]
    _, fresh, output, losses = seen(name)
    pictures = read(output, fresh.made.input, fresh.moments, objective.sampling).x0
    by_item = (pictures - fresh.x0).double().pow(2).mean(dim=(1, 2, 3))
    a, s = fresh.moments.alpha[:, None], fresh.moments.sigma[:, None]
    least_error = (MODES * s**2 / (a**2 * MODES + s**2)).mean(dim=1)
    assert float(by_item.mean() / least_error.mean()) == pytest.approx(1.0, abs=WITHIN)
    assert torch.allclose(picture_error(losses, fresh.moments, objective.sampling), by_item, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_curves_against_the_oracle_are_flat(name: str) -> None:
    objective, _ = CASES[name]
    _, fresh, _, losses = seen(name)
    found = curve(against_oracle(losses, fresh.moments, objective.sampling, MODES), fresh.moments)
    assert found.mean == pytest.approx(1.0, abs=WITHIN)
    for mean, count in zip(found.means, found.counts, strict=True):
        assert count < 100 or mean == pytest.approx(1.0, abs=0.05)
    assert sum(found.counts) == len(losses)


def test_one_network_has_one_score_under_every_objective() -> None:
    """The same reading of pictures, scored as eps, v and rf: raw losses differ, normalised ones do not."""
    _, fresh, output, losses = seen("v")
    said = read(output, fresh.made.input, fresh.moments, V)
    as_eps = per_item(said.eps, fresh.noise, fresh.moments, Loss())
    as_v = against_oracle(losses, fresh.moments, V, MODES)
    assert torch.allclose(against_oracle(as_eps, fresh.moments, EPS, MODES), as_v, rtol=1e-3)
    assert float(losses.mean()) > 1.3 * float(as_eps.mean())


def test_a_worse_network_is_seen() -> None:
    _, fresh, output, _ = seen("rf uniform")
    losses = per_item(0.6 * output, fresh.made.target, fresh.moments, Loss())
    assert curve(against_oracle(losses, fresh.moments, RF, MODES), fresh.moments).mean > 1.05


def test_curves_add_up() -> None:
    _, fresh, _, _ = seen("v ZTSNR")
    values = oracle(MODES, fresh.moments, ZERO)
    one = curve(values, fresh.moments)
    both = one + one
    assert both.means == pytest.approx(one.means, nan_ok=True)
    assert sum(both.counts) == 2 * len(values)
    assert math.isnan(curve(values[:0], Moments(values[:0], values[:0], values[:0])).mean)
