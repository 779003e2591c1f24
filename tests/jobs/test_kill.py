"""A process with a running queue is killed with -9 at random moments; the list afterwards is true."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.jobs import JobQueue, Task

ROOT = Path(__file__).resolve().parents[2]
VICTIM = """
import sys, time
from pathlib import Path
from lib_astolfo.jobs import JobQueue

def run(settings, task):
    for step in range(settings["steps"]):
        (task.folder / f"{step}.txt").write_text("x")
        time.sleep(0.005)
        task.progress(step + 1, settings["steps"], "step")
    return {"steps": settings["steps"]}

queue = JobQueue(Path(sys.argv[1]), {"short": run})
queue.start()
while True:
    job = queue.submit("short", {"steps": 8})
    print(job.id, flush=True)
    time.sleep(0.02)
"""


def quick(settings: dict[str, Any], task: Task) -> dict[str, Any]:
    return {"again": True}


def victim(folder: Path, seconds: float) -> list[str]:
    """Run one until it is killed; the ids of the jobs it said it had taken."""
    process = subprocess.Popen([sys.executable, "-c", VICTIM, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    taken = [process.stdout.readline().strip()]
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    taken += process.stdout.read().split()
    assert process.wait() == -signal.SIGKILL
    return taken


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("seed", range(6))
def test_the_list_is_true_after_kill_9(tmp_path: Path, seed: int) -> None:
    taken = victim(tmp_path, random.Random(seed).uniform(0.0, 0.4))
    reader = JobQueue(tmp_path, {})
    assert not [job for job in reader.list(1000) if job.state in ("running", "stopping")]  # nobody runs them
    queue = JobQueue(tmp_path, {"short": quick})
    queue.start()
    jobs = {job.id: queue.wait(job.id, 20) for job in queue.list(1000)}
    queue.shutdown()
    assert set(taken) <= set(jobs)  # what was acknowledged is there
    assert len(jobs) <= len(taken) + 1
    failed = [job for job in jobs.values() if job.state == "failed"]
    assert len(failed) <= 1
    for job in failed:
        assert "killed" in job.error
        assert job.ended >= job.started
        assert job.files == tuple(sorted(path.name for path in (tmp_path / job.id).glob("*")))
    for job in jobs.values():
        if job.state != "failed":
            assert job.state == "done"
            assert job.result in ({"steps": 8}, {"again": True})
    assert not [event for job in failed for event in queue.events(job.id) if event.text == "done"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_again_and_again(tmp_path: Path) -> None:
    taken: list[str] = []
    for round_ in range(4):
        taken += victim(tmp_path, 0.03 * round_)
    queue = JobQueue(tmp_path, {"short": quick})
    queue.start()
    states = [queue.wait(job_id, 20).state for job_id in taken]
    queue.shutdown()
    assert set(states) <= {"done", "failed"}
    assert states.count("failed") <= 4
