"""Merging on a GPU: chunks go there through pinned buffers, each worker on a stream of its own.

While one worker's chunk is copied or computed, another reads files: two workers keep two streams busy. Arithmetic is
fp32 on the device. Its results can differ from the processor's in the last bit, but not from run to run.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.kernels import Scratch

#: What ``device`` may be.
DEVICES = ("cpu", "cuda")
#: Fewest workers, and so streams, on a GPU.
STREAMS = 2


def check_device(device: str) -> None:
    """Refuse a device that is not known or not there."""
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (number and not (kind == "cuda" and number.isdigit())):
        raise BadInput("device", repr(device), "cpu, cuda, or cuda:0, cuda:1, …")
    if kind == "cuda" and not torch.cuda.is_available():
        why = "it was built without CUDA" if torch.version.cuda is None else "no CUDA GPU was found"
        raise BadInput("device", device, f"cpu: this torch ({torch.__version__}) cannot use a GPU, {why}")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise BadInput("device", device, f"a number below {torch.cuda.device_count()}, the GPUs that torch sees")


def lane(device: str) -> Lane | None:
    """A new worker's way to a device; None for the processor itself."""
    return None if device == "cpu" else Lane(device)


class Lane:
    """One worker's way to the device and back: buffers on both sides, and a stream if the device has streams.

    ``device`` cpu stands in for a GPU where there is none: the same copies, to unpinned buffers.
    """

    def __init__(self, device: str | torch.device) -> None:
        self.device = torch.device(device)
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.host = Scratch(pinned=self._stream is not None)
        self.scratch = Scratch(self.device)

    def on(self) -> AbstractContextManager[object]:
        """A context in which operations are queued on this lane's stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def send(self, stored: Tensor, scratch: Scratch) -> Tensor:
        """A flat host tensor of any dtype as fp32 on the device. ``stored`` must stay until ``settle``."""
        there = scratch.take(stored.shape)
        if stored.dtype == torch.float32:
            there.copy_(stored, non_blocking=True)
            return there
        short = scratch.take(stored.shape, stored.dtype)
        there.copy_(short.copy_(stored, non_blocking=True))
        scratch.give_back()
        return there

    def fetch(self, values: Tensor, out: Tensor, scratch: Scratch) -> None:
        """Round device values to the host tensor ``out``'s dtype and wait until they are in it."""
        short = scratch.take(values.shape, out.dtype).copy_(values)
        if self._stream is None or out.is_pinned():
            out.copy_(short, non_blocking=True)
        else:
            out.copy_(self.host.take(out.shape, out.dtype).copy_(short))
        scratch.give_back()
        self.settle()

    def settle(self) -> None:
        """Wait for what was queued."""
        if self._stream is not None:
            self._stream.synchronize()
