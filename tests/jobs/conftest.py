"""A queue with small real runners."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import Failed, Stopped
from lib_astolfo.jobs import JobQueue, Task


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited 20 s in vain"
        time.sleep(0.005)


class Gate:
    """Lets a runner take its steps when the test says so."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.entered = threading.Event()

    def run(self, settings: dict[str, Any], task: Task) -> dict[str, Any]:
        self.entered.set()
        total = settings.get("steps", 3)
        for step in range(total):
            assert self.steps.acquire(timeout=20)
            (task.folder / f"step {step}.txt").write_text(str(step))
            task.progress(step + 1, total, f"step {step}")
        return {"steps": total, "settings": settings}


def keeps_what_it_has(settings: dict[str, Any], task: Task) -> dict[str, Any]:
    count = 0
    try:
        while True:
            count += 1
            task.progress(count, 10**9, "counting")
    except Stopped:
        return {"count": count}


def refuses(settings: dict[str, Any], task: Task) -> dict[str, Any]:
    raise Failed("the disk is full: 3 GB needed, 1 GB free")


def breaks(settings: dict[str, Any], task: Task) -> dict[str, Any]:
    raise ZeroDivisionError(f"with {settings}")


def exits(settings: dict[str, Any], task: Task) -> dict[str, Any]:
    raise SystemExit(3)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def queue(tmp_path: Path, gate: Gate) -> Iterator[JobQueue]:
    runners = {"gate": gate.run, "count": keeps_what_it_has, "refuses": refuses, "breaks": breaks, "exits": exits}
    made = JobQueue(tmp_path / "jobs", runners)
    made.start()
    yield made
    for _ in range(100):
        gate.steps.release()
    made.shutdown()
