"""Trained on Gaussian pictures, every objective reaches the loss that mathematics allows, and no less.

The expected figures (``cases``) come from the schedule's definition, without the library's tables.
"""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor

from lib_astolfo.training.bins import against_oracle, curve, oracle, picture_error
from lib_astolfo.training.losses import Loss, per_item
from lib_astolfo.training.objective import read
from lib_astolfo.training.times import Moments
from lib_astolfo.training.weights import weight
from tests.training.cases import CASES, EPS, MODES, RF, ZERO, V, gains
from tests.training.gauss import Batch, Linear, batch

TRAINING = 6  # batches
WITHIN = 0.03


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
    expected = gains(CASES[name][0].sampling, timestep)
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
