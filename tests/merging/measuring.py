"""Methods that need figures of whole tensors, written plainly, for tests of the engine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lib_astolfo.merging.method import Measure, Method, Place

BINS = 64


def _sums(a: Tensor, b: Tensor, *, place: Place, **options: Any) -> Tensor:
    x, y = a.double(), b.double()
    return torch.stack([(x * y).sum(), (x * x).sum(), (y * y).sum()])


def _project(a: Tensor, b: Tensor, *, place: Place, alpha: float) -> Tensor:
    """A plus the part of B that is perpendicular to A: one figure per tensor."""
    dot, square, _ = place.measured[0]
    return a + alpha * (b - a * (dot / square).to(a.dtype))


def _largest(*tensors: Tensor, place: Place, **options: Any) -> Tensor:
    return torch.stack([t.abs().amax().double() for t in tensors])


def _counts(*tensors: Tensor, place: Place, **options: Any) -> Tensor:
    """Histogram of magnitudes up to the largest, which the first measure gave."""
    tops = place.measured[0]
    bins = [(t.abs().double() / top * (BINS - 1)).long().flatten() for t, top in zip(tensors, tops, strict=True)]
    return torch.stack([torch.bincount(one, minlength=BINS).double() for one in bins])


def _level(counts: Tensor, *, place: Place, k: float) -> Tensor:
    """The bin under which a share of the values lies."""
    assert len(place.measured) == 2
    share = counts.cumsum(1) / counts.sum(1, keepdim=True)
    return (share < 1 - k).sum(1)


def _nothing(*tensors: Tensor, place: Place, **options: Any) -> Tensor:
    raise AssertionError("not needed")


def _trim(*tensors: Tensor, place: Place, k: float) -> Tensor:
    """Mean of the tensors, each without its small values: two measures, the second of which uses the first."""
    tops, nothing, levels, also_nothing = place.measured
    assert nothing.numel() == also_nothing.numel() == 0
    kept = []
    for tensor, top, level in zip(tensors, tops, levels, strict=True):
        kept.append(torch.where((tensor.abs().double() / top * (BINS - 1)).long() >= level, tensor, 0))
    return torch.stack(kept).mean(dim=0)


def _rows(a: Tensor, b: Tensor, *, alpha: float) -> Tensor:
    """B's rows at the length of A's: whole rows are needed, no figures."""
    if a.dim() < 2:
        return a
    dims = tuple(range(1, a.dim()))
    return b * (a.square().sum(dims, keepdim=True) / b.square().sum(dims, keepdim=True)).sqrt() * alpha


def _whole(a: Tensor, b: Tensor, *, alpha: float) -> Tensor:
    return a + alpha * b.flatten().flip(0).view(b.shape)


def _range(a: Tensor, b: Tensor, *, place: Place, **options: Any) -> Tensor:
    """Least and greatest of a tensor's mean differences; its own scale first."""
    mean = ((a - b).double() / place.measured[0][1].sqrt()).mean()
    return torch.stack([mean, -mean])


def _spread(a: Tensor, b: Tensor, *, place: Place, alpha: float) -> Tensor:
    high, low = place.measured[1]
    return a.lerp(b, float(high + low) * alpha)


def _dither(a: Tensor, b: Tensor, *, place: Place, seed: int) -> Tensor:
    """Elements of A or B by a hash of the tensor's name and the place in it."""
    index = torch.arange(place.start, place.start + a.numel()).view(a.shape)
    return torch.where((index * 2654435761 + seed + sum(place.key.encode())) % 7 < 3, a, b)


def _moved(a: Tensor, b: Tensor, *, alpha: float) -> Tensor:
    return (a.double() + alpha * b.double()).exp().log1p().to(a.dtype)


TWO, ALPHA = ("a", "b"), {"alpha": 0.5}
SUMS = Measure(_sums)
METHODS = {
    method.name: method
    for method in (
        Method("project", _project, TWO, ALPHA, measures=(SUMS,), placed=True),
        Method(
            "trim",
            _trim,
            ("a",),
            {"k": 0.3},
            measures=(
                Measure(_largest, torch.maximum),
                Measure(_nothing, needed=lambda options: options["k"] < 0),
                Measure(_counts, finish=_level),
                Measure(_nothing, needed=lambda options: options["k"] < 0),
            ),
            placed=True,
            many=True,
            space="delta",
        ),
        Method("rows", _rows, TWO, ALPHA, unit="row"),
        Method("whole", _whole, TWO, ALPHA, unit="tensor"),
        Method(
            "spread",
            _spread,
            TWO,
            ALPHA,
            measures=(SUMS, Measure(_range, torch.maximum, over="model")),
            placed=True,
        ),
        Method("dither", _dither, TWO, {"seed": 1}, placed=True),
        Method("moved", _moved, TWO, ALPHA),
    )
}
