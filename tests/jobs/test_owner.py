"""Who owns the queue's folder and how it is left: shutdown, readers, damaged journals, full disks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.jobs import JobQueue

from .conftest import Gate, until


def test_shutdown_ends_the_running_job_and_leaves_the_queued_one(tmp_path: Path) -> None:
    gate = Gate()
    queue = JobQueue(tmp_path, {"gate": gate.run})
    running, waiting = queue.submit("gate", {"steps": 2}), queue.submit("gate", {"steps": 1})
    assert gate.entered.wait(20)
    threading.Timer(0.2, gate.steps.release).start()
    queue.shutdown()
    assert queue.get(running.id).state == "stopped"  # read from the disk now
    assert "shut down" in queue.get(running.id).error
    assert queue.get(waiting.id).state == "queued"
    with pytest.raises(Failed, match="shut down"):
        queue.submit("gate", {})
    again = JobQueue(tmp_path, {"gate": gate.run})
    again.start()
    gate.steps.release()
    assert again.wait(waiting.id, 20).state == "done"
    again.shutdown()


def test_a_cancelled_job_stays_cancelled_at_shutdown(tmp_path: Path) -> None:
    gate = Gate()
    queue = JobQueue(tmp_path, {"gate": gate.run})
    job = queue.submit("gate", {"steps": 2})
    assert gate.entered.wait(20)
    gate.steps.release()
    until(lambda: bool(queue.get(job.id).files))
    queue.cancel(job.id)
    threading.Timer(0.1, gate.steps.release).start()
    queue.shutdown()
    over = queue.get(job.id)
    assert (over.state, over.error, over.files) == ("stopped", "cancelled on request", ())
    assert not (tmp_path / job.id).exists()


def test_work_that_does_not_end_is_noted_as_failed(tmp_path: Path) -> None:
    gate = Gate()
    queue = JobQueue(tmp_path, {"gate": gate.run})
    job = queue.submit("gate", {"steps": 1})
    assert gate.entered.wait(20)
    queue.shutdown(timeout=0.1)
    assert queue.get(job.id).state == "failed"
    assert "0.1 s" in queue.get(job.id).error
    gate.steps.release()


def test_one_owner_and_any_number_of_readers(queue: JobQueue, gate: Gate) -> None:
    job = queue.submit("gate", {"steps": 1})
    assert gate.entered.wait(20)
    other = JobQueue(queue.folder, queue.runners)
    assert other.get(job.id).state == "running"
    assert [one.id for one in other.list()] == [job.id]
    with pytest.raises(Failed, match="another Astolfo"):
        other.submit("gate", {})
    assert not other.owner
    gate.steps.release()
    queue.wait(job.id, 20)
    queue.shutdown()
    other.start()
    assert other.get(job.id).state == "done"
    other.shutdown()


def test_a_damaged_or_foreign_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"not a database, but long enough to look like one" * 100)
    queue = JobQueue(tmp_path, {})
    with pytest.raises(Failed, match=r"jobs\.sqlite"):
        queue.start()
    (tmp_path / "jobs.sqlite").write_bytes(b"")  # killed before the tables were made
    assert queue.list() == []
    with pytest.raises(BadInput):
        queue.get("x")
    queue.start()
    queue.shutdown()


def test_a_full_disk_is_survived(queue: JobQueue, gate: Gate) -> None:
    job = queue.submit("gate", {"steps": 2})
    assert gate.entered.wait(20)
    assert queue._crew is not None
    database = queue._crew.ledger.journal._db
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(Failed, match="could not be written"):
        for _ in range(200):
            queue.submit("gate", {"steps": 1, "prompt": "x" * 2000})
    taken = [one.id for one in queue.list(1000)]
    for _ in range(2 + len(taken)):
        gate.steps.release()
    over = queue.wait(job.id, 20)
    assert (over.state, over.result["steps"]) == ("done", 2)
    database.execute("PRAGMA max_page_count=1000000")
    gate.steps.release()
    last = queue.submit("gate", {"steps": 1})
    assert queue.wait(last.id, 20).state == "done"
    queue.shutdown()
    assert {one.id: one.state for one in queue.list(1000)} == dict.fromkeys([*taken, last.id], "done")
