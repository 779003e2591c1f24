"""The cells of a study in SQLite, PostgreSQL and MySQL: who gets one, who loses it, whose result counts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.search.databases import PART, Worker
from lib_astolfo.search.ledger import Ledger
from tests.search.mysql import SERVERS

CELLS = [({"ratio": index / 10}, f"weights {index // 2}") for index in range(8)]
Open = Callable[..., Ledger]


@pytest.fixture(params=["sqlite", *SERVERS])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens one and the same study, each time as another worker."""
    file = f"sqlite:///{tmp_path / 'study.db'}"
    url = file if request.param == "sqlite" else request.getfixturevalue(SERVERS[request.param])
    name = f"{request.node.name} {time.time_ns()}"[-150:]

    def open_ledger(grace: float = 60.0) -> Ledger:
        return Ledger(url, name, grace=grace)

    return open_ledger


def test_cells_are_added_once(opened: Open) -> None:
    ledger, other = opened(), opened()
    assert ledger.settings() is None
    assert ledger.begin({"a": 1}) == {"a": 1}
    assert other.begin({"a": 2}) == {"a": 1}, "the first one has begun it"
    ledger.add(0, 0, CELLS)
    other.add(0, 0, CELLS)
    other.add(1, 7, [({"ratio": 0.5}, "weights")])
    assert [entry.number for entry in other.entries()] == list(range(8))
    assert [dict(entry.values) for entry in other.entries()] == [values for values, _ in CELLS]


def test_many_workers_get_each_cell_once(opened: Open) -> None:
    opened().add(0, 0, CELLS)
    taken: list[int] = []

    def work() -> None:
        ledger = opened()
        while (entry := ledger.claim()) is not None:
            taken.append(entry.number)
            assert ledger.finish(entry.number, "done", {"by": ledger.worker.mark}, b"picture")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(8))
    assert {entry.state for entry in opened().entries()} == {"done"}
    assert opened().picture(3) == b"picture"


def test_large_pictures_and_those_that_do_not_count(opened: Open) -> None:
    mine, other = opened(grace=0.05), opened(grace=0.05)
    mine.add(0, 0, CELLS[:1])
    large = os.urandom(2 * PART + 5)
    assert mine.claim() is not None
    time.sleep(0.1)
    assert other.take_back() == 1 and other.claim() is not None
    assert not mine.finish(0, "done", {}, b"late")
    assert other.finish(0, "done", {"text": "é 🙂"}, large)
    assert not mine.finish(0, "done", {}, b"later")
    assert opened().picture(0) == large and opened().picture(1) is None
    assert opened().entries()[0].result == {"text": "é 🙂"}


def test_a_worker_keeps_to_its_weights_and_away_from_those_of_others(opened: Open) -> None:
    ledger, other = opened(), opened()
    ledger.add(0, 0, CELLS)
    assert [(ledger.claim() or ledger.entries()[0]).number, (other.claim() or ledger.entries()[0]).number] == [0, 2]
    second = other.claim("weights 1")
    assert second is not None
    assert second.number == 3


def test_a_cell_of_a_silent_worker_is_given_back_and_its_late_result_does_not_count(opened: Open) -> None:
    slow, other = opened(), opened(grace=0.2)
    slow.add(0, 0, CELLS[:1])
    entry = slow.claim()
    assert entry is not None
    assert other.take_back() == 0
    time.sleep(0.4)
    assert slow.beat(entry.number)
    assert other.take_back() == 0, "it lives"
    time.sleep(0.4)
    assert other.take_back() == 1
    assert not slow.beat(entry.number)
    assert other.claim() is not None
    assert not slow.finish(entry.number, "done", {"by": "slow"}, None)
    assert other.finish(entry.number, "done", {"by": "other"}, None)
    assert not other.finish(entry.number, "done", {"by": "other again"}, None)
    assert opened().entries()[0].result == {"by": "other"}


def test_a_cell_that_kills_its_workers_fails_at_last(opened: Open) -> None:
    opened().add(0, 0, CELLS[:1])
    for _ in range(3):
        assert opened().claim() is not None
        time.sleep(0.1)
        assert opened(grace=0.05).take_back() == 1
    (entry,) = opened().entries()
    assert entry.state == "failed"
    assert "3 workers died" in (entry.result or {})["error"]


def test_what_is_given_back_is_no_try(opened: Open) -> None:
    ledger = opened()
    ledger.add(0, 0, CELLS[:1])
    for _ in range(5):
        assert ledger.claim() is not None
        ledger.give_back(0)
    assert ledger.claim() is not None


def test_a_dead_process_of_this_machine_is_known_at_once() -> None:
    code = "from lib_astolfo.search.databases import Worker; print(Worker.here().name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = Worker.here()
    assert here.knows_dead(done.stdout.strip())
    assert not here.knows_dead(here.name)
    assert not here.knows_dead("elsewhere|1|1.00|abc"), "nothing is known of another machine's processes"


@pytest.mark.parametrize("url", ["nonsense", "oracle://somewhere/x", "", "sqlite:/"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(BadInput):
        Ledger(url, "x")
