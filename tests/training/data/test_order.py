"""The order: every picture as often as it should be, one bucket a batch, the same for any number of processes."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.buckets import Fit
from lib_astolfo.training.data.captions import Wording
from lib_astolfo.training.data.order import Batch, Order, Position, pieces, repeats, shard, share
from lib_astolfo.training.data.scan import Item

SIZES = ((64, 64), (128, 64), (64, 128))


def items(count: int, times: tuple[float, ...] = (1.0,)) -> tuple[Item, ...]:
    made = []
    for number in range(count):
        size = SIZES[number % 3]
        item = Item(f"{number:016x}", Path(f"{number}.png"), f"{number:064x}", size, Fit(size, size), Wording(), "set")
        made.append(replace(item, repeats=times[number % len(times)]))
    return tuple(made)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
@pytest.mark.parametrize("times", [(1.0,), (3.0, 1.0), (0.5, 2.25, 1.0), (0.1,)])
def test_every_picture_is_seen_repeats_times_epochs(batch_size: int, times: tuple[float, ...]) -> None:
    order, epochs = Order(items(23, times), batch_size, 5), 20
    counts = Counter(seen.index for epoch in range(epochs) for batch in order.epoch(epoch) for seen in batch.seen)
    for index, item in enumerate(order.items):
        assert counts[index] == pytest.approx(item.repeats * epochs, abs=1e-9)


def test_fractions_are_spread_evenly_over_epochs_and_pictures() -> None:
    third = [[repeats(1 / 3, f"{number}", epoch, 1) for epoch in range(9)] for number in range(300)]
    assert all(sum(row[start : start + 3]) == 1 for row in third for start in range(7))
    assert all(60 < sum(row[epoch] for row in third) < 140 for epoch in range(9))
    assert [repeats(2.5, "x", epoch, 1) for epoch in range(4)] in ([2, 3, 2, 3], [3, 2, 3, 2])


def test_a_batch_has_one_bucket_and_only_the_last_of_a_bucket_is_smaller() -> None:
    order = Order(items(23, (3.0, 2.0)), 4, 5)
    batches = order.epoch(0)
    for batch in batches:
        assert {order.items[seen.index].fit.bucket for seen in batch.seen} == {batch.bucket}
    for bucket in SIZES:
        smaller = [len(batch) for batch in batches if batch.bucket == bucket and len(batch) < 4]
        assert len(smaller) <= 1
    assert len(batches) == order.count(0)
    names = [seen.name for batch in batches for seen in batch.seen]
    assert len(set(names)) == len(names)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    order = Order(items(23), 4, 5)
    assert order.epoch(3) == Order(items(23), 4, 5).epoch(3)
    assert order.epoch(3) != order.epoch(4) and order.epoch(3) != Order(items(23), 4, 6).epoch(3)


def test_the_order_of_the_folders_does_not_matter() -> None:
    listed = items(23, (2.0,))
    backwards = Order(tuple(reversed(listed)), 4, 5).epoch(1)
    assert [[seen.name for seen in batch.seen] for batch in backwards] == [
        [seen.name for seen in batch.seen] for batch in Order(listed, 4, 5).epoch(1)
    ]


def test_batches_of_a_bucket_do_not_come_in_a_row() -> None:
    buckets = [batch.bucket for batch in Order(items(90), 2, 5).epoch(0)]
    changes = sum(one != two for one, two in itertools.pairwise(buckets))
    assert changes > len(buckets) / 3
    assert buckets != [batch.bucket for batch in Order(items(90), 2, 5).epoch(1)]


@pytest.mark.parametrize("step", [0, 1, 6, 7, 8, 15, 20])
def test_a_run_goes_on_anywhere(step: int) -> None:
    order = Order(items(23, (1.0, 0.5)), 4, 5)
    whole = list(order.batches(epochs=4))
    position = order.position(step, 4)
    assert whole[step][0] == position
    assert list(order.batches(position, epochs=4)) == whole[step:]


def test_positions_that_do_not_exist_are_refused() -> None:
    order = Order(items(5), 1, 5)
    for start in (Position(0, 6), Position(-1, 0), Position(0, -1)):
        with pytest.raises(BadInput, match="position"):
            list(order.batches(start, epochs=2))
    assert list(order.batches(Position(1, 5), epochs=2)) == []
    with pytest.raises(BadInput, match="step"):
        order.position(10, 2)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_the_order_is_the_same_for_any_number_of_processes(processes: int) -> None:
    for batch in Order(items(23), 6, 5).epoch(0):
        parts = [shard(batch, rank, processes) for rank in range(processes)]
        assert tuple(seen for part in parts for seen in part.seen) == batch.seen
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert sum(share(part, batch) for part in parts) == pytest.approx(1)
        assert {part.bucket for part in parts} == {batch.bucket}


def test_pieces_for_accumulation() -> None:
    (batch,) = Order(items(1, (10.0,)), 10, 5).epoch(0)
    parts = pieces(batch, 4)
    assert [len(part) for part in parts] == [3, 3, 4]
    assert tuple(seen for part in parts for seen in part.seen) == batch.seen
    assert pieces(Batch((64, 64), ()), 4) == []


def test_nonsense_is_refused() -> None:
    for listed, size in ((items(2), 0), ((), 1), (items(1) * 2, 1)):
        with pytest.raises(BadInput, match="data"):
            Order(listed, size, 1)
    with pytest.raises(BadInput, match="rank"):
        shard(Batch((64, 64), ()), 2, 2)
    with pytest.raises(BadInput, match="most"):
        pieces(Batch((64, 64), ()), 0)


def test_an_epoch_without_pictures_is_passed() -> None:
    order = Order(items(1, (0.25,)), 1, 5)
    assert [len(order.epoch(epoch)) for epoch in range(8)].count(1) == 2
    assert len(list(order.batches(epochs=8))) == 2
