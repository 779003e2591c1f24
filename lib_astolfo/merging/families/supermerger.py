"""supermerger's own methods on cosines: cosine A and B, and extract."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.merging.families import columns, histograms
from lib_astolfo.merging.families.blockwise import blocks, entry
from lib_astolfo.merging.method import Measure, Method, Place

#: Share of the similarities that is cut off at either end before their range is taken.
_TAIL = 0.01
#: Elements above which a line's sums are taken by the library's own reduction.
_SHORT = 16


def _similarity_a(sums: Tensor) -> Tensor:
    """Mean of a column's cosine and that of the tensors with all columns at length 1; [columns].

    The latter is the mean of the columns' cosines.
    """
    cosines = columns.cosines(sums)
    used = columns.defined(sums)
    return (cosines + (cosines.sum() / used.sum().clamp_min(1))) / 2


def _similarity_b(sums: Tensor) -> Tensor:
    """Mean of a column's cosine and that of the whole tensors; [columns]."""
    return (columns.cosines(sums) + columns.whole_cosine(sums)) / 2


def _range_a(*_tensors: Tensor, place: Place, **_options: Any) -> Tensor:
    """Histogram of the columns' cosines, from the tensor's first part alone; zero columns are left out."""
    return _counted(place, columns.cosines)


def _range_b(*_tensors: Tensor, place: Place, **_options: Any) -> Tensor:
    """As ``_range_a`` of the similarities of ``cosine_b``."""
    return _counted(place, _similarity_b)


def _counted(place: Place, similarity: Callable[[Tensor], Tensor]) -> Tensor:
    sums = place.measured[0]
    return histograms.histogram(similarity(sums)[columns.defined(sums)] if place.start == 0 else sums[0, :0])


def _cut_range(found: Tensor, **_options: Any) -> Tensor:
    """Least and greatest similarity that are left when ``_TAIL`` is cut off below, and then above; float64 [2].

    The original deletes what is below the 1st percentile, then what is above the 99th of the rest.
    """
    count = int(found[0].sum())
    if not count:
        return found.new_zeros(2)
    below = math.ceil(_TAIL * (count - 1))
    above = below + math.floor((1 - _TAIL) * (count - below - 1))
    return found.new_tensor([histograms.value(found, below), histograms.value(found, above)])


def _position(similarity: Tensor, found: Tensor) -> Tensor:
    """Where a similarity lies between the least and the greatest of the whole model, after the tails are cut off.

    Without a range (a single column, or equal models) 1 at the greatest and above, else 0; the original gives NaN.
    """
    least, greatest = found.unbind(0)
    if greatest > least:
        return (similarity - least) / (greatest - least)
    return (similarity >= least).to(similarity)


def cosine_a_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float, place: Place) -> None:
    """out = (1 - k)·B + k·A, k = clip(position of s - |alpha|, 0, 1): A's structure with details of B.

    s is the mean of the cosine of a column of A and B and of the mean of these cosines over the tensor; its position is
    taken in the range of the columns' cosines over the whole model, without 1 % at either end.
    """
    sums, found = place.measured
    keep = (_position(_similarity_a(sums), found) - abs(alpha)).clamp(0, 1)
    columns.lerp_into(out, b, a, keep)


def cosine_b_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float, place: Place) -> None:
    """out = (1 - k)·B + k·A, k = clip(position of s - alpha, 0, 1): B's structure with details of A.

    s is the mean of the cosine of a column of A and B and that of the whole tensors; its position is taken in the range
    of s over the whole model, without 1 % at either end.
    """
    sums, found = place.measured
    keep = (_position(_similarity_b(sums), found) - alpha).clamp(0, 1)
    columns.lerp_into(out, b, a, keep)


def extract_into(
    out: Tensor, a: Tensor, b: Tensor, c: Tensor, *, alpha: float, beta: float, gamma: float, place: Place
) -> None:
    """out = A + ((1 - alpha)·x + alpha·y)·((1 - beta)·d + beta·(1 - d)), x = B - A, y = C - A, d = ((1 + s) / 2)^gamma.

    s is the cosine of x and y along the last dimension, 0 where one of them is zero. beta 0 keeps what both models
    changed alike, beta 1 what they changed otherwise.
    """
    line = (place.shape or (1,))[-1]
    if not out.numel():
        return
    lines = max(1, (1 << 15) // line)
    for to, base, first, second, x, y, product in blocks(out, a, b, c, spare=3, size=lines * line):
        torch.sub(first, base, out=x)
        torch.sub(second, base, out=y)
        xx = _line_sums(torch.mul(x, x, out=product), line)
        yy = _line_sums(torch.mul(y, y, out=product), line)
        cosine = _line_sums(torch.mul(x, y, out=product), line)
        cosine.div_(xx.sqrt_().mul_(yy.sqrt_()).clamp_min_(torch.finfo(torch.float64).tiny)).clamp_(-1, 1)
        alike = cosine.add_(1).div_(2).log_().mul_(gamma).exp_() if gamma else torch.ones_like(cosine)
        share = alike.mul_(1 - 2 * beta).add_(beta).to(x.dtype).unsqueeze(1)
        torch.lerp(x, y, alpha, out=to)
        to.view(-1, line).mul_(share)
        to.add_(base)


def _line_sums(values: Tensor, line: int) -> Tensor:
    """Sums over lines of that length; float64."""
    lines = values.view(-1, line)
    if line > _SHORT:
        return lines.sum(1, dtype=torch.float64)
    total = lines[:, 0].double()
    for i in range(1, line):
        total.add_(lines[:, i])
    return total


METHODS: tuple[Method, ...] = (
    entry(
        "cosine_a",
        cosine_a_into,
        ("a", "b"),
        options={"alpha": 0.5},
        unit="row",
        measures=(
            Measure(columns.products, unit="row"),
            Measure(_range_a, histograms.combine, unit="row", over="model", finish=_cut_range),
        ),
        placed=True,
        formula="(1 - k)·B + k·A, k = clip(similarity's place in its range over the model - |ratio|, 0, 1)",
        reference="supermerger 0b1c491 mergers.py, precosine and cosine, cosineA",
    ),
    entry(
        "cosine_b",
        cosine_b_into,
        ("a", "b"),
        options={"alpha": 0.5},
        unit="row",
        measures=(
            Measure(columns.products, unit="row"),
            Measure(_range_b, histograms.combine, unit="row", over="model", finish=_cut_range),
        ),
        placed=True,
        formula="(1 - k)·B + k·A, k = clip(similarity's place in its range over the model - ratio, 0, 1)",
        reference="supermerger 0b1c491 mergers.py, precosine and cosine, cosineB",
    ),
    entry(
        "extract",
        extract_into,
        ("a", "b", "c"),
        options={"alpha": 0.5, "beta": 0.0, "gamma": 1.0},
        limits={"alpha": (0.0, 1.0), "beta": (0.0, 1.0), "gamma": (0.0, math.inf)},
        unit="row",
        placed=True,
        formula="A + what B and C have in common (beta 0) or not (beta 1) of their differences from A",
        reference="supermerger 0b1c491 mergers.py, extract_super",
    ),
)
