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

_LEAST = torch.finfo(torch.float64).tiny


def products(a: Tensor, b: Tensor, *, place: Place, **_options: Any) -> Tensor:
    """Sums over the rows of A², A·B and B²; float64 [3, columns]. Measure of unit ``row``.

    The products of the few blocks of a part are added up in the inputs' fp32, all others in float64.
    """
    count, rows = _columns(a), _rows(a)
    dtype = torch.promote_types(a.dtype, torch.float32)
    inputs = (tensor.to(dtype).contiguous() for tensor in (a, b))
    sums = torch.zeros(3, rows * count, dtype=dtype, device=a.device)
    for x, y in blocks(*inputs, size=rows * count):
        for total, first, second in zip(sums, (x, x, y), (x, y, y), strict=True):
            total[: len(x)].addcmul_(first, second)
    return sums.view(3, rows, count).sum(1, dtype=torch.float64)


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
