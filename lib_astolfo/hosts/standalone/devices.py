"""Where a model computes and in which precision."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lib_astolfo.errors import BadInput

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALL = 200_000_000
"""Parameters up to which a model is small: float32 on a CPU, one thread while it draws."""


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name; ``auto``: CUDA (or ROCm), else Apple's MPS, else the CPU. BadInput if it is not there."""
    kind = name.partition(":")[0]
    if kind not in DEVICES:
        raise BadInput("device", repr(name), "one of " + ", ".join(DEVICES))
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(has_mps)}
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInput("device", repr(name), "one of " + ", ".join(DEVICES) + ", cuda:1, …") from None
    if (device.index or 0) >= counts[device.type]:
        raise BadInput("device", repr(name), "a device that this torch build and machine have; auto chooses one")
    return device


def pick_dtype(name: str, device: torch.device, parameters: int, stored: torch.dtype) -> torch.dtype:
    """The precision of UNet and text encoders; the VAE is always float32.

    ``auto``: float32 for small models on a CPU (see ``SMALL``), bfloat16 for larger ones there; on CUDA bfloat16 if the
    file is stored so, else float16; float16 on MPS.
    """
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise BadInput("dtype", repr(name), "one of auto, " + ", ".join(DTYPES))
    if device.type == "cpu":
        return torch.float32 if parameters <= SMALL else torch.bfloat16
    return torch.bfloat16 if device.type == "cuda" and stored == torch.bfloat16 else torch.float16


def free_memory(device: torch.device) -> int | None:
    """Free bytes on a device, or None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def empty_cache(device: torch.device) -> None:
    """Give memory of freed tensors back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@contextmanager
def threads_for(parameters: int, device: torch.device) -> Iterator[None]:
    """One thread for a small model on the CPU: many threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    single = device.type == "cpu" and parameters <= SMALL and before > 1 and "OMP_NUM_THREADS" not in os.environ
    if single:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if single:
            torch.set_num_threads(before)
