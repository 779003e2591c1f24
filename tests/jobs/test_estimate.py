"""The time estimate against a clock that the test turns."""

from __future__ import annotations

import pytest

from lib_astolfo.jobs.estimate import Estimate


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def work(estimate: Estimate, clock: Clock, units: range, total: int, seconds: float) -> None:
    for done in units:
        clock.now += seconds
        estimate.add(done, total)


def test_steady_work(clock: Clock) -> None:
    estimate = Estimate(clock)
    assert estimate.seconds_left() is None
    estimate.add(0, 100)
    assert estimate.seconds_left() is None
    work(estimate, clock, range(1, 21), 100, 2.0)
    assert estimate.seconds_left() == pytest.approx(160.0)
    clock.now += 5.0
    assert estimate.seconds_left() == pytest.approx(155.0)


def test_a_slow_first_step_is_soon_forgotten(clock: Clock) -> None:
    estimate = Estimate(clock)
    estimate.add(0, 100)
    work(estimate, clock, range(1, 2), 100, 60.0)
    assert estimate.seconds_left() == pytest.approx(99 * 60.0)
    work(estimate, clock, range(2, 5), 100, 1.0)
    assert estimate.seconds_left() == pytest.approx(96.0)


def test_pauses_do_not_count(clock: Clock) -> None:
    estimate = Estimate(clock)
    estimate.add(0, 100)
    work(estimate, clock, range(1, 11), 100, 1.0)
    estimate.pause()
    clock.now += 3600.0
    assert estimate.seconds_left() == pytest.approx(90.0)
    estimate.resume()
    work(estimate, clock, range(11, 21), 100, 1.0)
    assert estimate.seconds_left() == pytest.approx(80.0)


def test_it_follows_a_change_of_speed(clock: Clock) -> None:
    estimate = Estimate(clock)
    estimate.add(0, 1000)
    work(estimate, clock, range(1, 101), 1000, 1.0)
    work(estimate, clock, range(101, 201), 1000, 0.5)
    assert estimate.seconds_left() == pytest.approx(400.0)


def test_a_new_phase_starts_afresh(clock: Clock) -> None:
    estimate = Estimate(clock)
    estimate.add(0, 10)
    work(estimate, clock, range(1, 11), 10, 1.0)
    assert estimate.seconds_left() == 0.0
    estimate.add(0, 50)
    assert estimate.seconds_left() is None
    work(estimate, clock, range(1, 11), 50, 3.0)
    assert estimate.seconds_left() == pytest.approx(120.0)


def test_quick_reports_do_not_forget_the_past(clock: Clock) -> None:
    estimate = Estimate(clock)
    estimate.add(0, 100_000)
    work(estimate, clock, range(1, 50_001), 100_000, 0.001)
    assert estimate.seconds_left() == pytest.approx(50.0, rel=0.02)
