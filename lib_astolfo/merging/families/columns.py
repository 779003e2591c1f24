"""Cosines between the columns of two tensors, and a weighted sum with a weight per column.

A column holds the elements of one index in all dimensions but the first: in a weight [out, in, ...] what one input
gives to all outputs. A tensor with fewer than two dimensions is one column.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.merging.families.blockwise import BLOCK, blocks
from lib_astolfo.merging.method import Place

#: From so many columns on a block has so few rows that fp32 may add them up; float64 adds up the blocks.
_WIDE = 256
_LEAST = torch.finfo(torch.float64).tiny


def products(a: Tensor, b: Tensor, *, place: Place, **_options: Any) -> Tensor:
    """Sums over the rows of A², A·B and B²; float64 [3, columns]. Measure of unit ``row``.

    Products of fp32 values are rounded to fp32.
    """
    count, rows = _columns(a), _rows(a)
    dtype = torch.promote_types(a.dtype, torch.float32)
    inputs = (tensor.to(dtype).contiguous() for tensor in (a, b))
    sums = torch.zeros(3, count, dtype=torch.float64, device=a.device)
    if not a.numel():
        return sums
    exact = None if count >= _WIDE else torch.float64
    for x, y, product in blocks(*inputs, spare=1, size=rows * count):
        table = product.view(-1, count)
        for total, first, second in zip(sums, (x, x, y), (x, y, y), strict=True):
            torch.mul(first, second, out=product)
            total.add_(table.sum(0, dtype=exact))
    return sums


def cosines(sums: Tensor) -> Tensor:
    """Cosine of each column from ``products``; 0 where a column is zero. float64 [columns]."""
    return _cosine(*sums.unbind(0))


def whole_cosine(sums: Tensor) -> Tensor:
    """Cosine of the whole tensors as one vector each, from ``products``; 0 where one is zero. float64 []."""
    return _cosine(*sums.sum(1).unbind(0))


def defined(sums: Tensor) -> Tensor:
    """True where neither column is zero; [columns]."""
    return (sums[0] > 0) & (sums[2] > 0)


def lerp_into(out: Tensor, a: Tensor, b: Tensor, weights: Tensor) -> None:
    """out = (1 - weights)·A + weights·B, a weight per column [columns], over whole rows."""
    if not out.numel():
        return
    count, rows = _columns(a), _rows(a)
    repeated = weights.to(out.dtype).repeat(rows)
    for to, x, y in blocks(out, a, b, size=rows * count):
        torch.lerp(x, y, repeated[: len(x)], out=to)


def _cosine(aa: Tensor, ab: Tensor, bb: Tensor) -> Tensor:
    return (ab / (aa.sqrt() * bb.sqrt()).clamp_min(_LEAST)).clamp(-1, 1)


def _columns(part: Tensor) -> int:
    return math.prod(part.shape[1:])


def _rows(part: Tensor) -> int:
    """Rows of a block."""
    here = len(part) if part.dim() else 1
    most = BLOCK // max(1, _columns(part)) if part.device.type == "cpu" else here
    return max(1, min(here, most))
