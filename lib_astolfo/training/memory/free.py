"""What is free, and what is loaded already."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.hosts.base import LoadedModel
from lib_astolfo.training.memory.estimate import Standing

DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_GROUP = Path("/sys/fs/cgroup")


def standing(model: LoadedModel) -> Standing:
    """The loaded model as it is now. A host in a low-memory mode has parts of it elsewhere; these count as what must
    be moved in."""
    weights = {name: tensor for name, tensor in model.weights().items() if tensor.is_floating_point()}
    return Standing(
        {name: tuple(tensor.shape) for name, tensor in weights.items()},
        {name: DTYPES.get(tensor.dtype, str(tensor.dtype)) for name, tensor in weights.items()},
        frozenset(name for name, tensor in weights.items() if tensor.device.type == model.device.type),
        model.device.type,
    )


def standing_of_file(file: CheckpointFile, device: str, dtype: str = "") -> Standing:
    """A model that is not loaded, as it will be: in ``dtype``, or "" in what the file has."""
    held = {name: entry for name, entry in file.tensors.items() if entry.dtype.is_floating_point}
    dtypes = {name: dtype or DTYPES.get(entry.dtype, str(entry.dtype)) for name, entry in held.items()}
    return Standing({name: tuple(entry.shape) for name, entry in held.items()}, dtypes, frozenset(), device)


def free(device: torch.device) -> int | None:
    """Free bytes on a device; None where that is not known.

    On CUDA what no program has, and what PyTorch's allocator holds without using it. On the CPU the system's available
    memory, or what is left of the container's limit.
    """
    if device.type == "cuda":
        unused, _ = torch.cuda.mem_get_info(device)
        return int(unused) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    found = [value for value in (_system(), _container()) if value is not None]
    return min(found, default=None)


def _system() -> int | None:
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _container() -> int | None:
    """What is left of a control group's limit (kernel documentation, cgroup-v2, memory.max); pages of files that can
    be given back are no use of it."""
    with contextlib.suppress(OSError, ValueError):
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        stats = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(stats.get("inactive_file", 0)) + int(stats.get("active_file", 0))
    return None
