"""A saver that is killed at random moments, again and again, and what a reader finds after each kill.

By hand: ``python tests/training/optim/killed.py FOLDER [KILLS]``.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from lib_astolfo.training.checkpointing.store import Store

KEEP = 2


def contents(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """Two parts that tell which step they are of, some pages long."""
    weights = {"w": torch.full((3000,), float(step)), "b": torch.full((7,), step, dtype=torch.bfloat16)}
    return {"weights": weights, "optimiser": {"w|mean": torch.full((3000,), -float(step))}}


def save_for_ever(folder: Path, first: int) -> None:
    """The child: save step after step, telling the number of each that is done."""
    store, step = Store(folder, KEEP), first
    while True:
        store.save(step, contents(step), {"step": step})
        os.write(1, f"{step}\n".encode())
        step += 1


def kill_once(folder: Path, first: int, delay: float) -> int:
    """Start a child, kill it ``delay`` seconds later, return the last step it said was done, or the one before."""
    reader, written = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(written, 1)
            save_for_ever(folder, first)
        finally:
            os._exit(1)
    os.close(written)
    with os.fdopen(reader, "rb", buffering=0) as told:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said = told.read().split()
    return int(said[-1]) if said else first - 1


def check(folder: Path, done: int) -> int:
    """What must hold after a kill; returns the step of the state that is found."""
    state = Store(folder, KEEP).load()
    assert state is not None and state.passed_over == (), state
    assert state.step in (done, done + 1), f"step {done} was saved, {state.step} is found"
    assert state.values == {"step": state.step}
    for part, tensors in contents(state.step).items():
        assert all(torch.equal(state.tensors[part][name], tensor) for name, tensor in tensors.items())
    left = [path.name for path in folder.iterdir()]
    assert sum(name.endswith(".tmp") for name in left) <= 3, left
    assert sum(name.startswith("step-") and not name.endswith(".tmp") for name in left) <= KEEP + 2, left
    return state.step


def run(folder: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Kill that many times; counts how often something was left behind by the killed saver."""
    delays, step = random.Random(seed), 0
    Store(folder, KEEP).save(step, contents(step), {"step": step})
    seen = {"kills": 0, "steps": 0, "half written": 0, "named, not latest": 0}
    for _ in range(kills):
        done = kill_once(folder, step + 1, delays.uniform(0, 0.15))
        step = check(folder, done)
        names = [path.name for path in folder.iterdir()]
        newest = max(name for name in names if name.startswith("step-") and not name.endswith(".tmp"))
        seen["half written"] += any(name.endswith(".tmp") for name in names)
        seen["named, not latest"] += (folder / "latest").read_text().strip() != newest
        seen["kills"], seen["steps"] = seen["kills"] + 1, step
    return seen


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(f"{run(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200)}\n")
