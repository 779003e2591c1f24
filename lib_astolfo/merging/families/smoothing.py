"""Smooth add: a difference added after a median and a Gaussian filter over all dimensions of the tensor.

Both filters mirror a tensor at its edges, the edge values twice (scipy's ``reflect``). They are taken over blocks of
rows, in a layout with the small dimensions of a kernel in front and [rows, columns] behind, where all operations run
over long lines of memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib_astolfo.merging.families import networks
from lib_astolfo.merging.method import Method

#: The Gaussian's standard deviation, and where it is cut off: 4 standard deviations.
_SIGMA, _REACH = 1.0, 4
#: Elements of a block of rows.
_BLOCK = 1 << 16
#: Fewest rows of a block: a block needs one more row at either end for the median, ``_REACH`` for the Gaussian.
_ROWS = 4


def smooth_add(a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> Tensor:
    """A + alpha·Gauss(median(B - C)): the median of 3 and a Gaussian of standard deviation 1 along every dimension.

    The original returns fp32 for half precision models, here the result has the inputs' dtype.
    """
    if not a.numel():
        return a.clone()
    dtype = torch.promote_types(a.dtype, torch.float32)
    kernel = [size for size in a.shape[2:] if size > 1]
    table = (a.shape[0] if a.dim() else 1, a.shape[1] if a.dim() > 1 else 1, *kernel)
    first, second, third = (tensor.reshape(table).to(dtype) for tensor in (a, b, c))
    smooth = torch.empty(table, dtype=dtype, device=a.device)
    for start, stop in _blocks(table):
        rows = _mirrored(start - 1, stop + 1, table[0], a.device)
        smooth[start:stop] = _back(_median(_front(second[rows] - third[rows])))
    out = torch.empty(table, dtype=dtype, device=a.device)
    for start, stop in _blocks(table):
        rows = _mirrored(start - _REACH, stop + _REACH, table[0], a.device)
        out[start:stop] = _back(_gauss(_front(smooth[rows])))
    return out.mul_(alpha).add_(first).view(a.shape).to(a.dtype)


def _blocks(table: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last row of each block."""
    step = max(_ROWS, _BLOCK // math.prod(table[1:]))
    return [(start, min(start + step, table[0])) for start in range(0, table[0], step)]


def _mirrored(first: int, last: int, count: int, device: torch.device) -> Tensor:
    """Indices from ``first`` to ``last`` of a sequence of ``count`` things mirrored at both its ends."""
    index = torch.arange(first, last, device=device) % (2 * count)
    return torch.where(index < count, index, 2 * count - 1 - index)


def _front(rows: Tensor) -> Tensor:
    """[rows, columns, ...] as [..., rows, columns]."""
    return rows.permute(*range(2, rows.dim()), 0, 1).contiguous()


def _back(rows: Tensor) -> Tensor:
    """[..., rows, columns] as [rows, columns, ...]."""
    return rows.permute(-2, -1, *range(rows.dim() - 2))


def _axes(values: Tensor) -> list[int]:
    """The dimensions along which a filter is taken, the rows last, which bring their neighbours along."""
    columns = [values.dim() - 1] if values.shape[-1] > 1 else []
    return [*range(values.dim() - 2), *columns, values.dim() - 2]


def _padded(values: Tensor, axis: int, reach: int) -> Tensor:
    """Values with ``reach`` neighbours at either end of a dimension; the rows have theirs already."""
    if axis == values.dim() - 2:
        return values
    count = values.shape[axis]
    return values.index_select(axis, _mirrored(-reach, count + reach, count, values.device))


def _median(values: Tensor) -> Tensor:
    """Median of 3 along every dimension at once, of [..., rows + 2, columns]; a dimension of 1 changes nothing."""
    ordered: list[networks.Item] = [values]
    axes = _axes(values)
    for axis in axes:
        wide = [_padded(networks.value(item), axis, 1) for item in ordered]
        count = wide[0].shape[axis] - 2
        ordered = networks.merge_all([[item.narrow(axis, shift, count) for item in wide] for shift in range(3)])
        if axis == axes[-1]:
            ordered = [ordered[len(ordered) // 2]]
        ordered = [networks.value(item) for item in ordered]
    return networks.value(ordered[0])


def _gauss(values: Tensor) -> Tensor:
    """Gaussian along every dimension, of [..., rows + 2·_REACH, columns]."""
    weights = [math.exp(-0.5 * (shift / _SIGMA) ** 2) for shift in range(_REACH + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    for axis in _axes(values):
        wide = _padded(values, axis, _REACH)
        count = wide.shape[axis] - 2 * _REACH
        values = wide.narrow(axis, _REACH, count) * (weights[0] / total)
        for shift in range(1, _REACH + 1):
            values.add_(wide.narrow(axis, _REACH - shift, count), alpha=weights[shift] / total)
            values.add_(wide.narrow(axis, _REACH + shift, count), alpha=weights[shift] / total)
    return values


METHODS: tuple[Method, ...] = (
    Method(
        name="smooth_add",
        function=smooth_add,
        inputs=("a", "b", "c"),
        options={"alpha": 1.0},
        unit="tensor",
        formula="A + ratio·(B - C after a median filter of 3 and a Gaussian of standard deviation 1)",
        reference="supermerger 0b1c491 mergers.py, smoothAdd (scipy.ndimage.median_filter and gaussian_filter)",
    ),
)
