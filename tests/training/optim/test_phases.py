"""The chained cosine reproduces its model card: 23,088 pictures, batch 4, 90 epochs."""

from __future__ import annotations

import math

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.phases import PLANS, Phase, Plan, place, rate, schedule_of

CARD = PLANS["chained_cosine"]
STEPS = 23_088 // 4
COUNTS = [STEPS] * 8
PEAKS = [3e-6, 2.6e-6, 2.2e-6, 3e-6, 2.6e-6, 2.2e-6, 1.6e-6]


def at(epoch: float) -> float:
    return rate(CARD, COUNTS, round(epoch * STEPS))


def test_maxima_step_down_every_ten_epochs() -> None:
    assert [at(10 * chain) for chain in range(7)] == pytest.approx(PEAKS)
    assert [at(epoch) for epoch in (70, 75, 80, 85, 89.9)] == pytest.approx([2.2e-6] * 5)
    assert CARD.epochs == 90 and STEPS == 5772


def test_each_chain_is_a_cosine_that_ends_at_a_quarter() -> None:
    for chain, peak in enumerate(PEAKS):
        assert at(10 * chain + 5) == pytest.approx(0.75 * peak)
        assert at(10 * chain + 2.5) == pytest.approx(peak * (1 + math.cos(math.pi / 6)) / 2)
        assert rate(CARD, COUNTS, 10 * (chain + 1) * STEPS - 1) == pytest.approx(peak / 4, rel=1e-3)


def test_resolutions_captions_and_text_encoder() -> None:
    phases = [CARD.phases[place(CARD, COUNTS, epoch * STEPS).phase] for epoch in range(90)]
    assert [phase.resolution for phase in phases] == [512] * 30 + [768] * 60
    assert [phase.captions for phase in phases] == ["full"] * 70 + ["short"] * 20
    trained = [phase.text_encoder for phase in phases]
    for start in range(10, 70, 10):
        assert len(set(trained[start : start + 10])) == 1 and trained[start] is not trained[start - 1]
    assert not any(trained[70:]) and sum(trained) == 40


def test_the_rest_of_the_card() -> None:
    assert (CARD.batch, CARD.uncond_dropout, CARD.shuffle_every, CARD.save_every) == (4, 0.125, 10, 5)
    assert CARD.optimiser == "adamw8bit" and CARD.restart
    assert all(phase.warmup == 0 for phase in CARD.phases)


def test_phases_may_have_different_numbers_of_steps() -> None:
    plan = Plan((Phase(2, 512, 1.0, kind="constant"), Phase(1, 768, 0.5, kind="linear", floor=0.0, warmup=0.5)))
    places = [place(plan, [3, 4], step) for step in range(11)]
    assert [(p.phase, p.epoch, p.step) for p in places[4:8]] == [(0, 1, 4), (0, 1, 5), (1, 2, 0), (1, 2, 1)]
    assert (places[10].phase, places[10].epoch, places[10].step, places[10].steps) == (1, 2, 4, 4)
    assert [rate(plan, [3, 4], step) for step in (0, 5)] == [1.0, 1.0]
    assert [rate(plan, [3, 4], step) for step in (6, 7, 8, 9)] == pytest.approx([1 / 6, 1 / 3, 0.5, 0.25])


def test_beyond_the_end_the_rate_stays() -> None:
    assert at(90) == at(900) == pytest.approx(2.2e-6)
    cut = Plan(CARD.phases[:3])
    assert rate(cut, [STEPS] * 3, 10**7) == pytest.approx(2.2e-6 / 4)


def test_numbers_that_do_not_fit_are_refused() -> None:
    for counts in ([], [5] * 7, [5] * 7 + [0]):
        with pytest.raises(BadInput, match="steps_per_epoch"):
            place(CARD, counts, 0)
    with pytest.raises(BadInput, match=r"schedule\.kind"):
        schedule_of(Phase(1, 512, 1e-5, kind="rex"), 10)
