"""Chunk arithmetic without allocation: fused half precision, fp32 scratch, and the bit test for non-finite values."""

from __future__ import annotations

import torch
from torch import Tensor


def lerp_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float) -> None:
    """out = (1 - alpha)·a + alpha·b; for half inputs computed in fp32 and rounded once."""
    torch.lerp(a, b, alpha, out=out)


def add_difference_into(out: Tensor, a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> None:
    """out = a + (b - c)·alpha, three exactly rounded steps, so that the bits do not depend on vector widths."""
    torch.sub(b, c, out=out)
    out.mul_(alpha)
    torch.add(a, out, out=out)
