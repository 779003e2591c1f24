"""Two processes are one with twice the passes: the same weights, bit for bit; and one with twice the batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.checkpointing.store import State, Store
from lib_astolfo.training.run.review import review
from tests.training.run import small

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from lib_astolfo.training.run.accelerated import gather
from lib_astolfo.training.run.run import Run
from lib_astolfo.training.run.seen import Free
from tests.training.run import small
from tests.training.run.test_many import CHANGES
ground, data, folder = map(Path, sys.argv[1:4])
joined = gather()
assert joined.processes == 2
host = small.host(ground, folder.parent / "outputs")
outcome = Run(small.settings(data, CHANGES), host, folder, Free(), gather=joined).go()
assert outcome.ended == "done", outcome
"""
CHANGES = {
    "plan": {"steps": 7},
    "batch": 2,
    "accumulate": 2,
    "ema": {"decay": 0.9},
    "objective": {"times": {"stratified": True}},
    "save": {"steps": 3},
}


def state(folder: Path) -> State:
    found = Store(folder / "checkpoints").load()
    assert found is not None
    return found


def together(ground: Path, data: Path, folder: Path) -> None:
    """The run in two processes on this machine's CPU."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    more = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    more |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", CODE, str(ground), str(data), str(folder)]
    made = [
        subprocess.Popen(command, env={**os.environ, **more, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    told = [process.communicate(timeout=300)[1].decode() for process in made]
    assert [process.returncode for process in made] == [0, 0], "\n".join(told)


def apart(first: State, second: State) -> float:
    """The norm of the difference of what was trained, over the norm of it."""
    pairs = [(tensor, second.tensors["weights"][name]) for name, tensor in first.tensors["weights"].items()]
    gap = sum(float((a - b).square().sum()) for a, b in pairs)
    return float((gap / sum(float(a.square().sum()) for a, _ in pairs)) ** 0.5)


def test_two_processes_are_one(host: StandaloneHost, ground: Path, tmp_path: Path) -> None:
    """One bucket of eight: each process has one pass of two pictures, as the one process has two."""
    data = small.pictures(tmp_path / "data", 8, small.SIZES[:1])
    together(ground, data, tmp_path / "two" / "run")
    small.run(small.settings(data, CHANGES), host, tmp_path / "one")
    small.run(small.settings(data, {**CHANGES, "batch": 4, "accumulate": 1}), host, tmp_path / "whole")
    two, one, whole = (state(tmp_path / name) for name in ("two/run", "one", "whole"))
    for part, held in one.tensors.items():
        for name, tensor in held.items():
            assert torch.equal(tensor, two.tensors[part][name]), f"{part} {name}"
    assert apart(whole, two) < 0.01
    history = [(tmp_path / name / "history.csv").read_text("utf-8") for name in ("two/run", "one")]
    assert history[0] == history[1]


def test_two_processes_with_uneven_batches(host: StandaloneHost, ground: Path, data: Path, tmp_path: Path) -> None:
    """Buckets of three and two pictures: a pass of a process has one picture or two, and its share of the mean."""
    together(ground, data, tmp_path / "two" / "run")
    small.run(small.settings(data, {**CHANGES, "batch": 4, "accumulate": 1}), host, tmp_path / "whole")
    assert apart(state(tmp_path / "whole"), state(tmp_path / "two/run")) < 0.01


def test_what_several_processes_cannot_do(data: Path) -> None:
    with pytest.raises(BadInput, match=r"optimiser\.fused"):
        review(small.settings(data, {"optimiser": {"fused": True}}), processes=2)
    with pytest.raises(BadInput, match="at least one for each"):
        review(small.settings(data, {"batch": 1}), processes=2)
