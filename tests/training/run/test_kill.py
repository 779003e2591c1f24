"""Whole runs in a child process, killed again and again at any moment, end as the run that was never killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.checkpointing.store import State, Store
from tests.training.run import small

ROOT = Path(__file__).resolve().parents[3]
KILLS, STEPS = 3, 20
CHANGES = {
    "plan": {"epochs": 5},
    "accumulate": 2,
    "batch": 1,
    "save": {"steps": 1, "keep": 2},
    "snapshots": {"steps": 4},
    "ema": {"decay": 0.9},
    "watch": {"validation": {"share": 0.2, "every": 10, "times": [0.5]}, "tensorboard": True},
}
CODE = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from lib_astolfo.training.run.run import Run
from lib_astolfo.training.run.seen import Free
from tests.training.run import small
from tests.training.run.test_kill import CHANGES
ground, data, folder = map(Path, sys.argv[1:4])
host = small.host(ground, folder.parent / "outputs")
print("loaded", flush=True)
Run(small.settings(data, CHANGES), host, folder, Free()).go()
"""


def state(folder: Path) -> State | None:
    return Store(folder / "checkpoints").load()


def test_killed_again_and_again(host: StandaloneHost, ground: Path, data: Path, tmp_path: Path) -> None:
    folder, random_ = tmp_path / "run", random.Random(11)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    steps = [0]
    for number in range(KILLS + 1):
        command = [sys.executable, "-c", CODE, str(ground), str(data), str(folder)]
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"loaded\n"
        if number < KILLS:
            before = time.monotonic()
            while not is_after(folder, steps[-1]) and time.monotonic() < before + 60:
                time.sleep(0.01)
            time.sleep(random_.uniform(0, 0.3))
            os.kill(child.pid, signal.SIGKILL)
        code = child.wait(timeout=300)
        assert code == (0 if number == KILLS else -signal.SIGKILL) or step(folder) == STEPS
        steps.append(step(folder))
    assert steps == sorted(steps) and steps[-1] == STEPS and len(set(steps)) > KILLS // 2
    small.run(small.settings(data, CHANGES), host, tmp_path / "plain")
    one, two = state(folder), state(tmp_path / "plain")
    assert one is not None and two is not None and one.values == two.values
    for part, held in one.tensors.items():
        assert all(torch.equal(tensor, two.tensors[part][name]) for name, tensor in held.items()), part
    for path in [*(tmp_path / "plain").glob("history.*"), *(tmp_path / "plain" / "snapshots").iterdir()]:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "plain")).read_bytes()
    assert not list(folder.rglob("*.tmp"))


def step(folder: Path) -> int:
    found = state(folder)
    return found.step if found is not None else 0


def is_after(folder: Path, last: int) -> bool:
    """Whether a later step was saved; a state that is cleared away while it is read tells nothing."""
    try:
        return step(folder) > last
    except BadInput:
        return False
