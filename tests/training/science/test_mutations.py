"""The oracle is a test of the trainer: it finds nothing in the objectives as they are, and each fault put into them.

The six objectives of the oracle are examined in five ways, all against figures that come from the definitions alone:
the loss, the gains a network learns (a target of the wrong sign has the right loss), the levels drawn, the pictures a
sampler's denoiser reads out of it, and what that feeds and tells the network at the same noise.
"""

from __future__ import annotations

import math

import pytest
import torch

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.training import losses, weights
from lib_astolfo.training.losses import Loss
from lib_astolfo.training.objective import Objective
from tests.training.cases import CASES, MODES, gains
from tests.training.gauss import Batch, Linear, batch
from tests.training.science.mutations import MUTATIONS

TRAINING = 4  # batches
WITHIN = 0.03
SIX = ("eps", "v", "v ZTSNR", "v ZTSNR min-SNR", "rf logit-normal", "rf uniform")


def trained(objective: Objective) -> Linear:
    network = Linear(len(MODES))
    for step in range(TRAINING):
        made = batch(objective, MODES, step)
        network.learn(made.made, weights.weight(made.moments, objective.weights, objective.sampling))
    network.solve()
    return network


def loss_is_right(network: Linear, fresh: Batch, objective: Objective, expected: float) -> bool:
    output = network(fresh.made.input, fresh.made.timestep)
    each = losses.per_item(output, fresh.made.target, fresh.moments, Loss()).double()
    found = float((each * weights.weight(fresh.moments, objective.weights, objective.sampling)).mean())
    return math.isclose(found, expected, rel_tol=WITHIN)


def gains_are_right(network: Linear, fresh: Batch, objective: Objective) -> bool:
    timestep = fresh.made.timestep.long().clamp(0, 999)
    found = network.gain(timestep.float())
    return float((found - gains(objective.sampling, timestep)).abs().mean()) < 0.04


def levels_are_right(fresh: Batch, objective: Objective) -> bool:
    """The quartiles of the drawn times are the distribution's."""
    place = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    t = torch.sigmoid(torch.special.ndtri(place)) if objective.times.distribution == "logit_normal" else place
    t = objective.sampling.shift * t / (1.0 + (objective.sampling.shift - 1.0) * t)
    found = torch.quantile(fresh.made.timestep.double() / 1000.0, place)
    return bool(torch.allclose(found, t, atol=0.02))


def sampler_says_the_same(fresh: Batch, objective: Objective) -> bool:
    """A sampler at the batch's noise per picture: what it feeds and tells is what training fed and told."""
    inside = (fresh.moments.ratio > 0.03) & (fresh.moments.ratio < 1000.0)
    sigma = fresh.moments.ratio[inside]
    heard: list[torch.Tensor] = []

    def network(z: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        heard.extend((z, timestep))
        return z

    x = (fresh.x0 + fresh.moments.ratio.view(-1, 1, 1, 1) * fresh.noise)[inside]
    Denoiser(network, objective.sampling)(x, sigma)
    fed = torch.allclose(heard[0].float(), fresh.made.input[inside], atol=2e-3)
    return fed and torch.allclose(heard[1], fresh.made.timestep[inside], atol=2e-2)


def picture_is_right(network: Linear, fresh: Batch, objective: Objective) -> bool:
    """A denoiser with this network makes the least error that is possible at these levels of noise."""
    inside = fresh.moments.ratio < 1000.0
    sigma = fresh.moments.ratio[inside]
    x0 = fresh.x0[inside]
    x = x0 + sigma.view(-1, 1, 1, 1) * fresh.noise[inside]
    found = (Denoiser(network, objective.sampling)(x, sigma) - x0).double().square().mean()
    least = (MODES * sigma[:, None] ** 2 / (MODES + sigma[:, None] ** 2)).mean()
    return math.isclose(float(found), float(least), rel_tol=2 * WITHIN)


def faults(name: str) -> set[str]:
    """Which of the examinations an objective fails."""
    objective, expected = CASES[name]
    network, fresh = trained(objective), batch(objective, MODES, 99)
    passed = {
        "loss": loss_is_right(network, fresh, objective, expected),
        "gains": gains_are_right(network, fresh, objective),
        "levels": levels_are_right(fresh, objective),
        "sampler": sampler_says_the_same(fresh, objective),
        "picture": picture_is_right(network, fresh, objective),
    }
    return {examination for examination, good in passed.items() if not good}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_found_in_the_objectives_as_they_are(name: str) -> None:
    assert faults(name) == set()


@pytest.mark.parametrize("wrong", MUTATIONS)
def test_each_fault_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, change = MUTATIONS[wrong]
    change(monkeypatch)
    found = faults(name)
    assert found, f"{wrong}: the oracle of {name} does not see it"


def test_the_six_objectives_are_among_the_cases() -> None:
    assert set(SIX) <= set(CASES)
