"""Methods that take a slice of each tensor from one model and the rest from the other."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lib_astolfo.merging.families.blockwise import entry
from lib_astolfo.merging.method import Method, Place


def region(width: float, offset: float, count: int) -> tuple[int, int, bool]:
    """The slice of ``count`` things that ``width`` and ``offset`` name, as shares of all of them.

    A slice that runs over the end goes on at the beginning; then what it leaves free is given, and True.
    sd-mecha slicing.py, ratio_to_region.
    """
    if width < 0:
        offset, width = offset + width, -width
    width = min(width, 1.0)
    if offset < 0:
        offset = 1 + offset - int(offset)
    offset = math.fmod(offset, 1.0)
    if width + offset <= 1:
        return round(offset * count), round((width + offset) * count), False
    return round((width + offset - 1) * count), round(offset * count), True


def tensor_sum_into(out: Tensor, a: Tensor, b: Tensor, *, width: float, offset: float, place: Place) -> None:
    """out = A with a slice of the first dimension from B; a single number is B if ``width`` is above 0.5.

    The inputs stay as they are (sd-mecha writes into them).
    """
    shape = place.shape or ()
    if not shape:
        out.copy_(b if width > 0.5 else a)
        return
    first, last, inverted = region(width, offset, shape[0])
    rest, taken = (b, a) if inverted else (a, b)
    _slice_into(out, rest, taken, (shape[0], math.prod(shape[1:])), (first, last), place.start)


def tensor_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float, beta: float, place: Place) -> None:
    """out = A with the rows from beta·n to (alpha + beta)·n from B; over the end they go on at the beginning.

    supermerger mergers.py, tensormerge.
    """
    shape = place.shape or ()
    if not shape:
        out.copy_(a)
        return
    first, last, inverted = _bounds(alpha, beta, shape[0])
    rest, taken = (b, a) if inverted else (a, b)
    _slice_into(out, rest, taken, (shape[0], math.prod(shape[1:])), (first, last), place.start)


def tensor2_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float, beta: float, place: Place) -> None:
    """As ``tensor`` with the slice in the second dimension where there is one.

    Its bounds are shares of the second dimension if that is above 100, and else of the first, as in the original.
    """
    shape = place.shape or ()
    if len(shape) < 2:
        tensor_into(out, a, b, alpha=alpha, beta=beta, place=place)
        return
    first, last, inverted = _bounds(alpha, beta, shape[1] if shape[1] > 100 else shape[0])
    rest, taken = (b, a) if inverted else (a, b)
    _slice_into(out, rest, taken, (shape[1], math.prod(shape[2:])), (first, last), place.start)


def _bounds(alpha: float, beta: float, count: int) -> tuple[int, int, bool]:
    """supermerger's slice: bounds cut to whole numbers, not rounded."""
    if alpha + beta <= 1:
        return int(count * beta), int(count * (alpha + beta)), False
    return int(count * (alpha + beta - 1)), int(count * beta), True


def _slice_into(
    out: Tensor, rest: Tensor, taken: Tensor, layout: tuple[int, int], bounds: tuple[int, int], start: int
) -> None:
    """A part of a tensor that is ``taken`` between the bounds and ``rest`` elsewhere.

    Args:
        out, rest, taken: a part of the tensors, contiguous.
        layout: number of indices of the sliced dimension, and of elements of each.
        bounds: first and last index of the slice; what lies beyond the dimension is left out.
        start: first element of the part.
    """
    count, inner = layout
    flat, source = out.view(-1), taken.view(-1)
    flat.copy_(rest.view(-1))
    period = count * inner
    low, high = min(max(0, bounds[0]), count) * inner, min(max(0, bounds[1]), count) * inner
    if low >= high or not len(flat):
        return
    stop = start + len(flat)
    whole_first, whole_last = -(-start // period), stop // period
    if whole_first < whole_last:
        begin, end = whole_first * period - start, whole_last * period - start
        columns = slice(low, high)
        flat[begin:end].view(-1, period)[:, columns] = source[begin:end].view(-1, period)[:, columns]
    for number in {start // period, (stop - 1) // period} - set(range(whole_first, whole_last)):
        begin, end = max(0, number * period + low - start), min(len(flat), number * period + high - start)
        if begin < end:
            flat[begin:end] = source[begin:end]


def top_k_tensor_sum(a: Tensor, b: Tensor, *, width: float, offset: float) -> Tensor:
    """A with its own values put in the order of B's, those whose size is between the two ranks that ``width`` and
    ``offset`` name (or not between, where the slice runs over the end).

    The value at B's r-th rank becomes A's r-th smallest. Of equal values in B the first is the smaller one.
    sd-mecha slicing.py, top_k_tensor_sum.
    """
    if not a.numel():
        return a.clone()
    flat = a.detach().to("cpu", torch.promote_types(a.dtype, torch.float32)).flatten().numpy()
    ordered = np.sort(flat)
    chosen = _chosen(ordered, region(width, offset, len(flat)))
    places = _order(b.detach().to("cpu", torch.promote_types(b.dtype, torch.float32)).flatten())[chosen]
    out = flat.copy()
    out[places] = ordered[chosen]
    return torch.from_numpy(out).view(a.shape).to(a)


def _chosen(ordered: np.ndarray, where: tuple[int, int, bool]) -> np.ndarray:
    """Which ranks take part: a mask over the sorted values."""
    first, last, inverted = where
    sizes = np.abs(ordered)
    least = _kth(sizes, first) if first > 0 else -1.0
    greatest = _kth(sizes, last) if last > 0 else -1.0
    mask = (sizes >= least) & (sizes <= greatest)
    return ~mask if inverted else mask


def _kth(sizes: np.ndarray, k: int) -> float:
    return np.partition(sizes, k - 1)[k - 1]


def _order(values: Tensor) -> np.ndarray:
    """Indices that sort the values, equal ones in their order.

    The bits of a value, made to grow with it, stand above its index in one integer: sorting integers is stable then,
    and much faster than a stable sort of floats.
    """
    if values.dtype != torch.float32 or len(values) >= 1 << 31:
        return values.argsort(stable=True).numpy()
    bits = (values + 0.0).numpy().view(np.int32).astype(np.int64)
    bits = np.where(bits < 0, -1 - (bits & 0x7FFFFFFF), bits)
    bits <<= 32
    bits |= np.arange(len(bits))
    bits.sort()
    return bits & 0xFFFFFFFF


METHODS: tuple[Method, ...] = (
    entry(
        "tensor_sum",
        tensor_sum_into,
        ("a", "b"),
        options={"width": 0.5, "offset": 0.0},
        placed=True,
        formula="A with the rows from offset to offset + width (shares of all rows) from B",
        reference="sd-mecha 1.1.8 slicing.py, tensor_sum",
    ),
    Method(
        name="top_k_tensor_sum",
        function=top_k_tensor_sum,
        inputs=("a", "b"),
        options={"width": 1.0, "offset": 0.0},
        unit="tensor",
        formula="A's values put in the order of B's, those between two ranks of size",
        reference="sd-mecha 1.1.8 slicing.py, top_k_tensor_sum",
    ),
    entry(
        "tensor",
        tensor_into,
        ("a", "b"),
        options={"alpha": 0.5, "beta": 0.0},
        limits={"alpha": (0.0, 1.0), "beta": (0.0, 1.0)},
        placed=True,
        formula="A with the rows from beta·n to (ratio + beta)·n from B",
        reference="supermerger 0b1c491 mergers.py, tensormerge",
    ),
    entry(
        "tensor2",
        tensor2_into,
        ("a", "b"),
        options={"alpha": 0.5, "beta": 0.0},
        limits={"alpha": (0.0, 1.0), "beta": (0.0, 1.0)},
        placed=True,
        formula="A with the columns from beta·n to (ratio + beta)·n from B",
        reference="supermerger 0b1c491 mergers.py, tensormerge",
    ),
)
