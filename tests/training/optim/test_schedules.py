"""Schedules against values worked out by hand."""

from __future__ import annotations

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.schedules import CURVES, Schedule, check, factor, notes

HALF = 2**-0.5


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule("constant", 100), {0: 1, 50: 1, 99: 1, 100: 1, 10**6: 1}),
        (Schedule("linear", 100, floor=0.2), {0: 1, 50: 0.6, 75: 0.4, 100: 0.2, 10**6: 0.2}),
        (Schedule("cosine", 100, floor=0.0), {0: 1, 25: (1 + HALF) / 2, 50: 0.5, 75: (1 - HALF) / 2, 100: 0}),
        (Schedule("cosine", 100), {0: 1, 50: 0.55, 100: 0.1, 10**6: 0.1}),
        (Schedule("cosine", 90, floor=0.0, stretch=1.5), {0: 1, 45: 0.75, 90: 0.25, 10**6: 0.25}),
        (Schedule("cosine_restarts", 100, cycles=2), {0: 1, 25: 0.55, 50: 1, 75: 0.55, 100: 0.1, 10**6: 0.1}),
        (Schedule("constant", 100, warmup=4), {0: 0.2, 1: 0.4, 3: 0.8, 4: 1, 5: 1}),
        (Schedule("linear", 104, warmup=4, floor=0.0), {0: 0.2, 3: 0.8, 4: 1, 54: 0.5, 104: 0}),
        (Schedule("cosine_restarts", 10, warmup=10), {9: 10 / 11, 10: 0.1}),
    ],
)
def test_by_hand(schedule: Schedule, expected: dict[int, float]) -> None:
    check(schedule)
    assert {step: factor(schedule, step) for step in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", list(CURVES))
def test_a_rate_is_never_zero_unless_asked_for(kind: str) -> None:
    schedule = Schedule(kind, 50, warmup=5, cycles=3)
    assert min(factor(schedule, step) for step in range(500)) >= 0.1
    assert notes(Schedule(kind, 50), 500) == ()


def test_a_rate_of_zero_is_told_before_the_start() -> None:
    schedule = Schedule("cosine", 50, floor=0.0)
    assert "0 from step 50 on" in notes(schedule, 60)[0]
    assert notes(schedule, 49) == ()


def test_options_without_effect_are_told() -> None:
    assert notes(Schedule("constant", floor=0.5), 10) == ("floor has no effect with constant",)
    told = notes(Schedule("linear", cycles=2, stretch=2.0), 10)
    assert told == ("cycles has no effect with linear", "stretch has no effect with linear")


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule("rex"),
        Schedule(steps=0),
        Schedule(warmup=-1),
        Schedule(steps=5, warmup=6),
        Schedule(floor=float("nan")),
        Schedule(cycles=0),
        Schedule(stretch=0.9),
    ],
)
def test_impossible_ones_are_refused(schedule: Schedule) -> None:
    with pytest.raises(BadInput, match="schedule"):
        check(schedule)
