"""What a network predicts is changed from eps to v to rf and back: by real targets, and by distilling it as it was.

Everything is measured against closed forms of Gaussian pictures: the loss with which a swap begins, the best loss there
is, and the loss of the exact conversion, which is at that best without a step of training.
"""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training import losses, objective, times
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.losses import Loss
from tests.training.cases import MODES
from tests.training.science.swapping import (
    BATCH,
    EVEN,
    Gains,
    best,
    levels,
    loss_by_hand,
    loss_of,
    pictures,
    taught,
    train,
)

EPS, ZERO, RF = Sampling(), Sampling("v", True), Sampling("rf")
CHAIN = ((EPS, ZERO), (ZERO, RF), (RF, EPS))
LONG, SHORT = 400, 150  # steps: of the first network, of each swap
EDGE = 0.0047  # the SNR at which eps' schedule ends
NAMES = ["eps to v", "v to rf", "rf to eps"]


@functools.cache
def network(sampling: Sampling) -> Gains:
    """One that predicts this: the first from scratch, the others by swaps on real targets, along the chain."""
    if sampling == EPS:
        return train(Gains(), EPS, LONG)
    before = {ZERO: EPS, RF: ZERO}[sampling]
    return train(network(before), sampling, LONG // 2, first=10_000)


def read_as(before: Sampling, after: Sampling) -> Tensor:
    """The best gains of ``before`` at the timesteps that ``after`` tells the network, [1000, modes]."""
    known, wanted = levels(before)[0][:, 0], levels(after)[0][:, 0]
    place = torch.bucketize(wanted, known).clamp(1, 999)
    share = ((wanted - known[place - 1]) / (known[place] - known[place - 1])).clamp(0.0, 1.0)[:, None]
    gains = best(before)
    return torch.lerp(gains[place - 1], gains[place], share)


def scored(before: Sampling, after: Sampling, convert: bool) -> tuple[float, float]:
    """The loss of the untrained swap on real batches, over the best one; (a) all, (b) where the teacher is asked.

    ``convert``: what the network says is converted; else it is read as ``after``.
    """
    each, least, valid = [], [], []
    p_q = best(after)
    for step in range(20):
        moments = times.draw(EVEN, after, Draws(1, step, tuple(range(BATCH))))
        x0, noise = pictures(50_000 + step)
        made = objective.make(x0, noise, moments, after)
        said, inside = taught(x0, noise, moments, after, (network(before), before))
        output = said if convert else network(before)(made.input, made.timestep).detach()
        index = made.timestep.long().clamp(0, 999)
        ideal = p_q[index].float()[:, :, None, None] * made.input
        each.append(losses.per_item(output, made.target, moments, Loss()))
        least.append(losses.per_item(ideal, made.target, moments, Loss()))
        valid.append(inside & (moments.snr >= EDGE))
    loss, floor, inside = torch.cat(each), torch.cat(least), torch.cat(valid)
    return float(loss.mean()), float(loss[inside].mean() / floor[inside].mean())


@pytest.mark.parametrize(("before", "after"), CHAIN, ids=NAMES)
def test_a_naive_swap_begins_where_mathematics_says(before: Sampling, after: Sampling) -> None:
    expected = loss_by_hand(read_as(before, after), after)
    assert expected > 1.3 * loss_by_hand(best(after), after), "the swap is one"
    assert scored(before, after, convert=False)[0] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(("before", "after"), CHAIN, ids=NAMES)
def test_the_exact_conversion_begins_at_the_best_loss(before: Sampling, after: Sampling) -> None:
    assert scored(before, after, convert=True)[1] <= 1.03


@pytest.mark.parametrize(("before", "after"), CHAIN, ids=NAMES)
def test_both_swaps_recover(before: Sampling, after: Sampling) -> None:
    least = loss_by_hand(best(after), after)
    start = network(before)
    for teacher in (None, (start, before)):
        swapped = train(start, after, SHORT, teacher, first=20_000)
        assert loss_of(swapped, after) <= 1.05 * least
        assert loss_of(swapped, before) > 1.2 * loss_by_hand(best(before), before), "it is another network now"


def test_back_at_the_start_it_is_as_good_as_at_first() -> None:
    back = train(network(RF), EPS, LONG // 2, first=30_000)
    assert loss_of(back, EPS) <= 1.02 * loss_of(network(EPS), EPS)
    gains = back.gain(levels(EPS)[0][:, 0]).detach().double()
    assert float((gains - best(EPS)).square().mul(MODES).mean()) < 0.02
