"""Draws: fixed numbers, independent keys, fair orders."""

from __future__ import annotations

from lib_astolfo.training.data import draws


def test_the_numbers_are_fixed() -> None:
    assert draws.uniform(1, "flip", 2, "item", 0) == 0.39069377878073497
    assert draws.order(6, 3, "shuffle", 1) == [1, 2, 3, 5, 4, 0]


def test_keys_do_not_run_into_one_another() -> None:
    calls = [
        (1, "a", "b", "c"),
        (1, "ab", "c"),
        (1, "a", "bc"),
        (1, "a", "b", "c", ""),
        (1, "a", 1),
        (1, "a", "1"),
        (11, "a"),
    ]
    assert len({draws.uniform(*call) for call in calls}) == len(calls)


def test_uniform_fills_the_unit_interval_evenly() -> None:
    counts = [0] * 10
    for n in range(10_000):
        counts[draws.whole(10, 5, "test", n)] += 1
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 28  # chi squared, 9 degrees: 1 in 1000


def test_all_orders_come_equally_often() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for n in range(6000):
        one = tuple(draws.order(3, 5, "test", n))
        counts[one] = counts.get(one, 0) + 1
    assert len(counts) == 6
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 20.6  # 5 degrees: 1 in 1000


def test_equal_weights_are_no_weights() -> None:
    assert draws.weighted_order([2.0, 2.0, 2.0], 1, "x") == draws.order(3, 1, "x")
    assert draws.weighted_order([], 1, "x") == []


def test_names_that_are_no_text_can_be_drawn_for() -> None:
    assert draws.uniform(1, "x", "caf\udce9") != draws.uniform(1, "x", "caf\u00e9")
