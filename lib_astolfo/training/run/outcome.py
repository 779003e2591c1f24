"""How a run ended, and what a run says of itself in files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lib_astolfo.hosts.base import LoadedModel

#: done: all steps. stopped: asked to, with a snapshot. discarded: without. shutdown: to be gone on with later.
#: guard: an alarm ended it.
ENDS = ("done", "stopped", "discarded", "shutdown", "guard")
_SAMPLES = 16


@dataclass(frozen=True)
class Outcome:
    """``ended``: one of ``ENDS``. ``steps`` of ``total`` are made. ``snapshots``: file names in the run's folder, in
    order; ``last``: the last one, "" without. ``why``: of an alarm, or whoever stopped it. ``notes``: for people."""

    ended: str
    steps: int
    total: int
    snapshots: tuple[str, ...] = ()
    last: str = ""
    why: str = ""
    rollbacks: int = 0
    quarantined: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)


def fingerprint(model: LoadedModel) -> str:
    """Names the weights that are loaded by some values of each, hex sha256: those of a file and those of a live merge
    differ. Inside the host's lock, with nothing of a training in the network."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.weights().items()):
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _SAMPLES)][: _SAMPLES + 1].to("cpu", torch.float64)
        found.update(f"{name}{tuple(tensor.shape)}".encode() + some.numpy().tobytes())
    return found.hexdigest()


def snapshot_name(name: str, epoch: int, done: int) -> str:
    """File name of a snapshot: run, epochs begun, steps made."""
    return f"{name}-e{epoch:04}-s{done:08}.safetensors"


def snapshots(folder: Path, name: str) -> list[tuple[int, Path]]:
    """(steps made, file) of the snapshots in a folder, in order."""
    found = []
    for path in folder.glob("*.safetensors"):
        head, mark, tail = path.stem.rpartition("-s")
        if mark and tail.isdigit() and head.startswith(f"{name}-e"):
            found.append((int(tail), path))
    return sorted(found)
