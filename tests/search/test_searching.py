"""Searches over a database: what they find, what a killed one leaves, and that workers share without loss."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib_astolfo.errors import Failed, Stopped
from lib_astolfo.search import searching
from lib_astolfo.search.gathered import gathered
from lib_astolfo.search.searching import fetch

from .mysql import SERVERS
from .toy import BEST, found, search_of

ROOT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).with_name("toy.py")
STRATEGIES = ("grid", "refine", "additive", "tpe", "cmaes")
LONG = pytest.mark.skipif(
    os.environ.get("ASTOLFO_FULL_SIZE") != "1", reason="set ASTOLFO_FULL_SIZE=1: refine is killed"
)


def url_of(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'study.db'}"


def worker(url: str, folder: Path, strategy: str, delay: float) -> subprocess.Popen[str]:
    """A process that joins a study."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.search.toy", url, str(folder), strategy, str(delay)]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_search_ends_and_the_same_seed_gives_the_same_cells(strategy: str, tmp_path: Path) -> None:
    results = []
    for name in ("one", "other"):
        search = search_of(strategy, url_of(tmp_path / name), tmp_path / name)
        search.run()
        results.append(found(search))
        search.ledger.close()
    assert results[0] == results[1]
    assert all(state == "done" for _, _, _, state, _ in results[0])
    assert len(results[0]) <= search.strategy.most


def test_refine_finds_the_optimum_and_asks_whether_it_is_only_a_lower_cfg(tmp_path: Path) -> None:
    search = search_of("refine", url_of(tmp_path), tmp_path)
    search.run()
    result = gathered(search.plan, fetch(search.plan, search.ledger, tmp_path), tmp_path)
    from lib_astolfo.search.findings import curves
    from lib_astolfo.search.verdict import verdict

    drawn = [curve for curve in curves(result, search.plan.primary) if len(curve.cells) > 1]  # type: ignore[arg-type]
    assert len(drawn) == 2
    for curve in drawn:
        assert curve.optimum is not None
        assert curve.optimum.low - 0.01 <= BEST <= curve.optimum.high + 0.01
        assert len(curve.cells) + 2 <= 41 / 3, "at most a third of a sweep of 41, with the two at lower CFGs"
    assert sorted({cell.cell.values["cfg"] for cell in result.cells}) == [1.5, 2.5, 4.0]
    assert "confounder" in {sentence.kind for sentence in verdict(result).sentences}


def test_a_stopped_search_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = search_of("refine", url_of(tmp_path / "whole"), tmp_path / "whole")
    whole.run()
    search = search_of("refine", url_of(tmp_path / "part"), tmp_path / "part")

    def stop(done: int, total: int, text: str) -> None:
        if search.drawn == 3:
            raise Stopped("enough")

    search.report = stop
    with pytest.raises(Stopped):
        search.run()
    states = [state for _, _, _, state, _ in found(search)]
    assert states.count("done") == 3
    assert "running" not in states, "the cell under way was given back"
    again = search_of("refine", url_of(tmp_path / "part"), tmp_path / "part")
    again.run()
    assert found(again) == found(whole)
    assert again.drawn == len(found(whole)) - 3


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["refine", pytest.param("tpe", marks=LONG)])
def test_killed_at_random_moments_it_gives_the_undisturbed_result(strategy: str, tmp_path: Path) -> None:
    whole = search_of(strategy, url_of(tmp_path / "whole"), tmp_path / "whole")
    whole.run()
    url, chance = url_of(tmp_path / "killed"), random.Random(5)
    for _ in range(3):
        process = worker(url, tmp_path / "killed", strategy, 0.02)
        assert process.stdout is not None
        for _ in range(chance.randint(1, 4)):
            process.stdout.readline()  # as many cells, and then in the middle of one
        time.sleep(chance.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = search_of(strategy, url, tmp_path / "killed")
    before = [state for _, _, _, state, _ in found(last)].count("done")
    assert 0 < before < len(found(whole))
    last.run()
    assert found(last) == found(whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", *SERVERS])
def test_two_workers_one_killed_in_mid_cell(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    whole = search_of("refine", url_of(tmp_path / "whole"), tmp_path / "whole")
    whole.run()
    url = url_of(tmp_path / "both") if kind == "sqlite" else request.getfixturevalue(SERVERS[kind])
    killed, other = (worker(url, tmp_path / name, "refine", 0.03) for name in ("killed", "other"))
    assert killed.stdout is not None
    killed.stdout.readline()
    time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert other.wait(timeout=200) == 0
    last = search_of("refine", url, tmp_path / "last")
    assert found(last) == found(whole), "every cell once, none lost"
    last.run()
    assert last.drawn == 0
    assert len(fetch(last.plan, last.ledger, tmp_path / "last")) == len(found(whole))
    assert len(list((tmp_path / "last" / "cells").iterdir())) == len(found(whole)), "pictures of all workers"


def test_a_cell_that_cannot_be_drawn_has_failed_and_three_end_the_search(tmp_path: Path) -> None:
    search = search_of("grid", url_of(tmp_path / "one"), tmp_path / "one")
    draw = search.host.draw  # type: ignore[attr-defined]

    def broken(request):  # type: ignore[no-untyped-def]
        if search.host.recipe.ratio == 0.5:  # type: ignore[attr-defined]
            raise Failed("values that are not finite")
        return draw(request)

    search.host.draw = broken  # type: ignore[attr-defined]
    search.run()
    states = [state for _, _, _, state, _ in found(search)]
    assert states.count("failed") == 2
    assert states.count("done") == 8
    assert len(fetch(search.plan, search.ledger, tmp_path / "one")) == 8

    other = search_of("grid", url_of(tmp_path / "other"), tmp_path / "other")

    def always(request):  # type: ignore[no-untyped-def]
        raise Failed("no such model")

    other.host.draw = always  # type: ignore[attr-defined]
    with pytest.raises(Failed, match="3 cells failed"):
        other.run()


def test_hopeless_cells_end_after_the_first_pictures(tmp_path: Path) -> None:
    search = search_of("additive", url_of(tmp_path), tmp_path)
    search.look = 3
    search.run()
    states = [state for _, _, _, state, _ in found(search)]
    assert 0 < states.count("pruned") < len(states)
    pruned = next(entry for entry in search.ledger.entries() if entry.state == "pruned")
    assert len(searching.read(search.plan, pruned).scores["red"].each) == 3  # type: ignore[arg-type]
    best = min(entry.result["scores"]["red"]["mean"] for entry in search.ledger.entries() if entry.state == "done")  # type: ignore[index]
    assert best < 0.35
