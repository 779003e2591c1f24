"""What a step did, and how many weights it really moved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Elements of a tensor that are looked at.
SAMPLE = 1024


@dataclass(frozen=True)
class Report:
    """One step.

    ``skipped``: why nothing was updated, or "". ``left_out``: tensors that were not, because their gradient was not
    finite (``fused`` only; otherwise one such tensor skips the step). ``norm``: of the whole gradient before clipping,
    NaN if it was not finite. ``clipped``: tensors whose gradient was made shorter. ``moved``: share of the trained
    weights, in 0 to 1, whose stored value is another than before, from at most ``SAMPLE`` elements of each tensor.
    ``in_all`` and ``in_a_row``: steps skipped since the start, and now without one between.
    """

    step: int
    skipped: str = ""
    left_out: tuple[str, ...] = ()
    norm: float = 0.0
    clipped: int = 0
    moved: float = 0.0
    in_all: int = 0
    in_a_row: int = 0


class Sample:
    """Some elements of a tensor before an update; an odd stride, so that they lie in all rows and columns."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.before = self._now().clone()

    def _now(self) -> Tensor:
        flat = self.tensor.detach().reshape(-1) if self.tensor.is_contiguous() else self._dense()
        return flat[:: max(1, flat.numel() // SAMPLE) | 1]

    def _dense(self) -> Tensor:
        """All elements in the order of the memory, without a copy where strides allow it."""
        tensor = self.tensor.detach()
        order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
        return tensor.permute(order).reshape(-1)

    def moved(self) -> Tensor:
        """Estimated number of elements that changed, a tensor (nothing is waited for)."""
        changed = self._now().ne(self.before)
        share = changed.sum(dtype=torch.float64) / max(changed.numel(), 1)
        return share * self.tensor.numel()
