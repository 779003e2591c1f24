"""A small training of the digits base: few pictures, small steps."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import pictures

BUCKETS = dict(pictures.BUCKETS)
#: From eps to v with zero terminal SNR, taught by the base.
SWAP = {"sampling": {"prediction": "v", "zero_terminal_snr": True}, "distill": {"share": 1.0}}
PATIENCE = 120.0  # seconds; far more than any of it takes


def write(folder: Path, count: int = 16) -> Path:
    """A data set of this many digits in red."""
    return pictures.write(folder, count, colour="red")


def body(data: str = "red", **more: Any) -> dict[str, Any]:
    """What POST /train takes; it ends when it is stopped."""
    return {
        "model": "base",
        "data": {"sources": [{"path": data}], "buckets": BUCKETS},
        "plan": {"epochs": 1000, "rate": 4e-3},
        "batch": 4,
        "accumulate": 1,
        "watch": {"validation": {"every": 0}, "tensorboard": False},
        "snapshots": {"epochs": 0},
        **more,
    }


def digest(workspace: Workspace) -> str:
    """All weights of the loaded model."""
    found = hashlib.sha256()
    with workspace.locked():
        assert workspace.host.model is not None
        for name, tensor in sorted(workspace.host.model.weights().items()):
            found.update(name.encode() + tensor.detach().contiguous().cpu().numpy().tobytes())
    return found.hexdigest()


def until(condition: Callable[[], Any]) -> Any:
    """What the condition gives as soon as it is true."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found
