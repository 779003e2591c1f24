"""Jobs of one lane wait for each other, not for those of another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import Stopped
from lib_astolfo.jobs import COMMON, Job, JobQueue, Lane, Task

from .conftest import Gate, until

LONG = Lane("long", patience=20.0)


def lane_of(job: Job) -> Lane:
    return LONG if job.kind in ("slow", "other") else COMMON


def saves_slowly(settings: dict[str, Any], task: Task) -> dict[str, Any]:
    """Work that needs a while to come to an end."""
    count = 0
    try:
        while True:
            count += 1
            task.progress(count, 0, "working")
            time.sleep(0.001)
    except Stopped:
        asked = task.asked
        time.sleep(0.5)
        (task.folder / "saved.txt").write_text(str(count))
        return {"count": count, "asked": asked}


@pytest.fixture
def queue(tmp_path: Path, gate: Gate) -> Iterator[JobQueue]:
    runners = {"gate": gate.run, "slow": saves_slowly, "other": saves_slowly}
    made = JobQueue(tmp_path / "jobs", runners, lane_of)
    made.start()
    yield made
    for _ in range(100):
        gate.steps.release()
    made.shutdown()


def test_a_long_job_lets_the_others_go_by(queue: JobQueue, gate: Gate) -> None:
    long = queue.submit("slow", {})
    until(lambda: queue.get(long.id).progress.done > 3)
    short = queue.submit("gate", {"steps": 1})
    gate.steps.release()
    assert queue.wait(short.id, 20).state == "done"
    assert queue.get(long.id).state == "running"


def test_jobs_of_one_lane_wait_for_each_other(queue: JobQueue) -> None:
    first, second = queue.submit("slow", {}), queue.submit("other", {})
    until(lambda: queue.get(first.id).progress.done > 3)
    assert queue.get(second.id).state == "queued"
    queue.stop(first.id)
    assert queue.wait(first.id, 20).result["asked"] == "stop"
    until(lambda: queue.get(second.id).progress.done > 3)


def test_each_lane_is_steered_by_itself(queue: JobQueue, gate: Gate) -> None:
    long, short = queue.submit("slow", {}), queue.submit("gate", {"steps": 2})
    assert gate.entered.wait(20)
    queue.pause(long.id)
    until(lambda: queue.get(long.id).state == "paused")
    assert queue.get(short.id).state == "running"
    queue.stop(short.id)
    gate.steps.release()
    assert queue.wait(short.id, 20).state == "stopped"
    queue.resume(long.id)
    seen = queue.get(long.id).progress.done
    until(lambda: queue.get(long.id).progress.done > seen)


def test_at_the_end_a_lane_gets_the_time_it_needs(queue: JobQueue) -> None:
    long = queue.submit("slow", {})
    until(lambda: queue.get(long.id).progress.done > 3)
    queue.shutdown(timeout=0.05)
    over = queue.get(long.id)
    assert (over.state, over.error, over.result["asked"]) == ("stopped", "Astolfo was shut down", "shutdown")
    assert over.files == ("saved.txt",)
    assert not [thread for thread in threading.enumerate() if thread.name == "astolfo long" and thread.is_alive()]


def test_what_waits_stays_in_its_lane_after_a_restart(tmp_path: Path, gate: Gate) -> None:
    first = JobQueue(tmp_path, {"gate": gate.run, "slow": saves_slowly}, lane_of)
    running, waiting = first.submit("slow", {}), first.submit("slow", {})
    until(lambda: first.get(running.id).progress.done > 3)
    first.shutdown()
    again = JobQueue(tmp_path, {"gate": gate.run, "slow": saves_slowly}, lane_of)
    again.start()
    until(lambda: again.get(waiting.id).progress.done > 3)
    short = again.submit("gate", {"steps": 1})
    gate.steps.release()
    assert again.wait(short.id, 20).state == "done"
    again.shutdown()
