"""Several processes with one model each: what they say to each other. One process says nothing."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Gather(Protocol):
    """``rank`` of ``processes``. All processes call ``sum`` in the same order with tensors of the same shapes."""

    @property
    def rank(self) -> int: ...

    @property
    def processes(self) -> int: ...

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in the same bits on each."""


class Alone:
    """One process."""

    rank = 0
    processes = 1

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor
