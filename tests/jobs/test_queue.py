"""The queue in one process: states, asking, errors, files, two clients at once."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.jobs import Job, JobQueue, Task
from lib_astolfo.jobs.journal import Journal

from .conftest import Gate, until


def texts(queue: JobQueue, job: Job) -> list[str]:
    return [event.text for event in queue.events(job.id)]


def test_runs_in_order_and_keeps_result_files_and_events(queue: JobQueue, gate: Gate) -> None:
    first = queue.submit("gate", {"steps": 2, "prompt": "red seven"})
    second = queue.submit("gate", {"steps": 1})
    assert gate.entered.wait(20)
    assert queue.get(second.id).state == "queued"
    gate.steps.release()
    until(lambda: queue.get(first.id).progress.done == 1)
    assert queue.get(first.id).files == ("step 0.txt",)
    for _ in range(2):
        gate.steps.release()
    done, then = queue.wait(first.id, 20), queue.wait(second.id, 20)
    assert (done.state, done.error, then.state) == ("done", "", "done")
    assert done.result == {"steps": 2, "settings": {"steps": 2, "prompt": "red seven"}}
    assert done.files == ("step 0.txt", "step 1.txt")
    assert done.created <= done.started <= done.ended <= then.started
    assert [job.id for job in queue.list()] == [second.id, first.id]
    assert texts(queue, done) == ["started", "done"]
    assert [event.number for event in queue.events(done.id, after=1)] == [2]
    json.dumps(done.to_dict(), allow_nan=False)


def test_pause_holds_the_work_and_resume_goes_on(queue: JobQueue, gate: Gate) -> None:
    job = queue.submit("gate", {"steps": 4})
    assert gate.entered.wait(20)
    assert (queue.pause(job.id).state, queue.get(job.id).asked) == ("running", "pause")
    gate.steps.release()
    until(lambda: queue.get(job.id).state == "paused")
    gate.steps.release()
    time.sleep(0.1)
    assert queue.get(job.id).progress.done == 1
    queue.resume(job.id)
    queue.pause(job.id)  # before the worker has woken up, or after
    gate.steps.release()
    until(lambda: queue.get(job.id).state == "paused" and queue.get(job.id).asked == "")
    queue.resume(job.id)
    gate.steps.release()
    assert queue.wait(job.id, 20).state == "done"
    assert texts(queue, job)[:3] == ["started", "paused", "resumed"]


def test_a_queued_job_can_be_held_back(queue: JobQueue, gate: Gate) -> None:
    first, held, last = (queue.submit("gate", {"steps": 1}) for _ in range(3))
    assert queue.pause(held.id).state == "paused"
    for _ in range(2):
        gate.steps.release()
    assert queue.wait(first.id, 20).state == queue.wait(last.id, 20).state == "done"
    assert queue.get(held.id).state == "paused"
    queue.resume(held.id)
    gate.steps.release()
    assert queue.wait(held.id, 20).state == "done"


@pytest.mark.parametrize("paused", [False, True])
def test_stop_keeps_the_files_and_cancel_deletes_them(queue: JobQueue, gate: Gate, paused: bool) -> None:
    for how, kept in ((queue.stop, ("step 0.txt",)), (queue.cancel, ())):
        gate.entered.clear()
        job = queue.submit("gate", {"steps": 9})
        assert gate.entered.wait(20)
        if paused:
            queue.pause(job.id)
            gate.steps.release()
            until(lambda: queue.get(job.id).state == "paused")  # noqa: B023
        assert how(job.id).state == "stopping"
        gate.steps.release()
        over = queue.wait(job.id, 20)
        while gate.steps.acquire(blocking=False):
            pass
        assert (over.state, over.files, over.result) == ("stopped", kept, None)
        assert "on request" in over.error
        assert (queue.folder / job.id).exists() is bool(kept)


def test_stopped_work_may_return_what_it_has(queue: JobQueue) -> None:
    job = queue.submit("count", {})
    until(lambda: queue.get(job.id).progress.done > 5)
    queue.stop(job.id)
    over = queue.wait(job.id, 20)
    assert over.state == "stopped"
    assert over.result["count"] >= 5


@pytest.mark.parametrize(("stopped", "state"), [(True, "stopped"), (False, "done")])
def test_work_that_was_ended_elsewhere_says_so_in_its_result(tmp_path: Path, stopped: bool, state: str) -> None:
    """As a grid that is interrupted in the WebUI: nobody has asked the job to stop."""
    queue = JobQueue(tmp_path, {"grid": lambda settings, task: {"stopped": stopped}})
    queue.start()
    over = queue.wait(queue.submit("grid", {}).id, 20)
    queue.shutdown()
    assert (over.state, over.result) == (state, {"stopped": stopped})
    assert ("early" in over.error) is stopped


def test_a_queued_job_is_stopped_without_running(queue: JobQueue, gate: Gate) -> None:
    running = queue.submit("gate", {"steps": 1})
    waiting = queue.submit("gate", {"steps": 1})
    assert (queue.stop(waiting.id).state, queue.get(waiting.id).started) == ("stopped", None)
    gate.steps.release()
    queue.wait(running.id, 20)
    with pytest.raises(BadInput, match="it is stopped already"):
        queue.resume(waiting.id)


def test_errors_end_the_job_and_not_the_worker(queue: JobQueue) -> None:
    clean = queue.wait(queue.submit("refuses", {}).id, 20)
    assert (clean.state, clean.error) == ("failed", "the disk is full: 3 GB needed, 1 GB free")
    dirty = queue.wait(queue.submit("breaks", {"x": 1}).id, 20)
    assert (dirty.state, dirty.error) == ("failed", "ZeroDivisionError: with {'x': 1}")
    assert "conftest.py" in queue.events(dirty.id)[1].data["traceback"]
    assert queue.wait(queue.submit("exits", {}).id, 20).error == "SystemExit: 3"
    assert queue.wait(queue.submit("refuses", {}).id, 20).state == "failed"


def test_unknown_ids_kinds_and_files_are_refused(queue: JobQueue, gate: Gate, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected 'gate'"):
        queue.submit("gatte", {})
    with pytest.raises(BadInput):
        queue.get("../jobs")
    job = queue.submit("gate", {"steps": 1})
    gate.steps.release()
    queue.wait(job.id, 20)
    folder = queue.folder / job.id
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "sub").mkdir()
    (folder / "sub" / "7 星.png").write_bytes(b"x")
    (folder / ".half written").write_bytes(b"x")
    assert queue.file(job.id, "sub/7 星.png").read_bytes() == b"x"
    for name in ("../jobs.sqlite", "link.txt", "sub", "/etc/passwd", "sub/../step 0.txt", "sub//7 星.png", "", ".",
                 ".half written", "a" * 5000, "nul\0", "C:\\x", "sub\\7 星.png", "missing.txt"):  # fmt: skip
        with pytest.raises(BadInput):
            queue.file(job.id, name)
    with pytest.raises(BadInput):
        queue.file("..", "secret.txt")


def test_secrets_reach_the_work_but_not_the_disk(queue: JobQueue, gate: Gate) -> None:
    settings = {"api_key": "sk-123456", "study": "postgresql://ann:hunter22@db/x", "deep": [{"password": "pass-word"}]}
    shown = queue.submit("breaks", settings)
    over = queue.wait(shown.id, 20)
    seen = json.dumps([over.to_dict(), [event.to_dict() for event in queue.events(over.id)]])
    everything = b"".join(path.read_bytes() for path in queue.folder.rglob("jobs.sqlite*"))
    for secret in ("sk-123456", "hunter22", "pass-word"):
        assert secret not in seen
        assert secret.encode() not in everything
    assert over.settings["study"] == "postgresql://ann:***@db/x"
    gate.steps.release()
    done = queue.wait(queue.submit("gate", {"steps": 1, "keep_tokens": 3, "prompt": "token"}).id, 20)
    assert done.settings == {"steps": 1, "keep_tokens": 3, "prompt": "token"}


def test_secrets_in_results_and_deep_in_events_are_blotted_out(queue: JobQueue) -> None:
    def says(settings: dict[str, Any], task: Task) -> dict[str, Any]:
        task.event("asked", answer={"to": [f"key={settings['api_key']}"]})
        return {"settings": settings}

    queue.runners["says"] = says  # type: ignore[index]
    over = queue.wait(queue.submit("says", {"api_key": "sk-123456"}).id, 20)
    assert over.result == {"settings": {"api_key": "***"}}
    assert queue.events(over.id)[1].data == {"answer": {"to": ["key=***"]}}


def test_a_state_and_what_is_said_of_it_are_written_together(
    queue: JobQueue, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between two writes must not leave a failed job that says "done"."""
    said = {"queued": None, "running": "started", "paused": "paused", "done": "done"}
    seen = []
    write = Journal._write

    def looked_at(self: Journal, *args: Any) -> None:
        write(self, *args)
        for job in (disk := Journal(self.path, read_only=True)).newest(9):
            last = [event.text for event in disk.events(job.id, 0, 99)][-1:]
            seen.append((job.state, last == [said[job.state]] or last == ["resumed"] or job.state == "queued"))
        disk.close()

    monkeypatch.setattr(Journal, "_write", looked_at)
    job = queue.submit("gate", {"steps": 1})
    assert gate.entered.wait(20)
    queue.pause(job.id)
    gate.steps.release()
    until(lambda: queue.get(job.id).state == "paused")
    queue.resume(job.id)
    assert queue.wait(job.id, 20).state == "done"
    assert {state for state, _ in seen} == {"queued", "running", "paused", "done"}
    assert all(fits for _, fits in seen)


def test_two_clients_at_once(queue: JobQueue, gate: Gate) -> None:
    for _ in range(60):
        gate.steps.release()
    made: list[str] = []
    errors: list[Exception] = []

    def client() -> None:
        try:
            for _ in range(15):
                job = queue.submit("gate", {"steps": 2})
                queue.pause(job.id) if len(made) % 3 == 0 else None
                queue.list(5)
                queue.resume(job.id)
                made.append(job.id)
        except BadInput:
            made.append(job.id)  # it was over before it could be resumed
        except Exception as error:
            errors.append(error)

    clients = [threading.Thread(target=client) for _ in range(2)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(30)
    assert not errors
    for job_id in made:
        assert queue.wait(job_id, 20).state == "done"


def test_results_that_json_lacks_are_made_plain(queue: JobQueue, tmp_path: Path) -> None:
    import numpy as np

    odd = {"nan": float("nan"), "path": tmp_path, "array": np.arange(2), "half": np.float32(0.5), 1: "\ud800"}
    queue.runners["odd"] = lambda settings, task: odd  # type: ignore[index]
    over = queue.wait(queue.submit("odd", {}).id, 20)
    assert over.result == {"nan": None, "path": str(tmp_path), "array": [0, 1], "half": 0.5, "1": "?"}
