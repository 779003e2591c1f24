"""Averages that follow the models' agreement: Model Stock and the geometric median."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.merging import weiszfeld
from lib_astolfo.merging.families.thinning import add_up, flat, last_dimension, tiles
from lib_astolfo.merging.method import Measure, Method, Place

#: Rows up to this length are short.
SHORT = 8


def stock_factor(rows: Sequence[Tensor], cos_eps: float) -> Tensor:
    """Model Stock's t = n·c / (1 + (n - 1)·c) for each row, c the mean cosine of consecutive deltas.

    Args:
        rows: n tensors [rows, length], n > 1.
        cos_eps: least length in a cosine.

    Returns:
        [rows, 1].
    """
    scratch = torch.empty_like(rows[0])
    norms = [_lengths(row, scratch).clamp_(min=cos_eps) for row in rows]
    cosine = torch.zeros_like(norms[0])
    for i in range(len(rows) - 1):
        dot = _dots(rows[i], rows[i + 1], scratch)
        cosine.add_(dot.div_(norms[i]).div_(norms[i + 1]))
    return factor_of(cosine.div_(len(rows) - 1), len(rows)).unsqueeze(-1)


def factor_of(cosine: Tensor, count: int) -> Tensor:
    """Model Stock's t = n·c / (1 + (n - 1)·c) for a mean cosine c of n = ``count`` deltas.

    0 where 1 + (n - 1)·c is not positive: the mean over all pairs of n vectors is never so small.
    """
    below = 1 + (count - 1) * cosine
    return torch.where(below > 0, count * cosine / below, torch.zeros_like(below))


def _lengths(rows: Tensor, scratch: Tensor) -> Tensor:
    """Length of each row, [rows]."""
    if rows.shape[1] > SHORT:
        return torch.linalg.vector_norm(rows, dim=1)
    return _dots(rows, rows, scratch).sqrt_()


def _dots(a: Tensor, b: Tensor, scratch: Tensor) -> Tensor:
    """Product of each row of two tensors [rows, length]; short rows are summed column by column, which is faster."""
    torch.mul(a, b, out=scratch)
    if scratch.shape[1] > SHORT:
        return scratch.sum(dim=1)
    return add_up(scratch.unbind(1), torch.empty_like(scratch[:, 0]))


def model_stock_into(out: Tensor, *deltas: Tensor, place: Place, cos_eps: float, per: str, clamp: bool) -> None:
    """t times the mean delta; the delta itself if there is but one.

    Args:
        out: float32, contiguous, of the deltas' shape.
        deltas: float32, whole rows.
        cos_eps: least length in a cosine.
        per: ``row``, a t for each row of the last dimension from consecutive models; ``tensor``, one t from all pairs.
        clamp: keep t in 0..1.
    """
    length = last_dimension(deltas[0], place)
    parts = flat(deltas)
    total = out.view(-1)
    for first, last in tiles(parts, place.start, length):
        tile = [part[first:last] for part in parts]
        into = add_up(tile, total[first:last])
        if len(tile) == 1:
            continue
        if per == "tensor":
            factor = place.measured[0].to(into).view(1, 1)
        else:
            factor = stock_factor([delta.view(-1, length) for delta in tile], cos_eps)
        if clamp:
            factor = factor.clamp(0, 1)
        into.view(-1, length).mul_(factor / len(tile))


def model_stock(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """``model_stock_into`` a new tensor."""
    out = torch.empty(deltas[0].shape, dtype=torch.float32, device=deltas[0].device)
    model_stock_into(out, *deltas, place=place, **options)
    return out.to(deltas[0].dtype)


def factor_of_gram(gram: Tensor, cos_eps: float) -> Tensor:
    """Model Stock's t of a whole tensor from the products of its deltas, float64 scalar; 1 for one delta."""
    count = len(gram)
    if count == 1:
        return torch.ones((), dtype=torch.float64)
    norms = gram.diagonal().sqrt().clamp(min=cos_eps)
    cosines = gram / torch.outer(norms, norms)
    return factor_of((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)), count)


def gram_of_deltas(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """Products of the deltas, float64 [models, models]."""
    return _gram(flat(deltas), place.start, around_first=False)


def gram_around_first(*models: Tensor, place: Place, **options: Any) -> Tensor:
    """Products of the models' differences from the first one, float64 [models, models]."""
    return _gram(flat(models), place.start, around_first=True)


def _gram(parts: list[Tensor], start: int, *, around_first: bool) -> Tensor:
    gram = torch.zeros(len(parts), len(parts), dtype=torch.float64, device=parts[0].device)
    wide = torch.empty(0)
    for first, last in tiles(parts, start):
        if not wide.numel() or wide.shape[1] < last - first:
            wide = torch.empty(len(parts), last - first, dtype=torch.float64, device=parts[0].device)
        tile = [part[first:last] for part in parts]
        weiszfeld.add_gram(gram, tile, wide[:, : last - first], tile[0] if around_first else None)
    return gram


def weighted_into(out: Tensor, *models: Tensor, place: Place, **options: Any) -> None:
    """Sum of the models with the weights measured."""
    weights = place.measured[0].tolist()
    parts = flat(models)
    total = out.view(-1)
    for first, last in tiles(parts, place.start):
        into = total[first:last]
        scratch = torch.empty_like(into)
        torch.mul(parts[0][first:last], weights[0], out=into)
        for part, weight in zip(parts[1:], weights[1:], strict=True):
            into.add_(torch.mul(part[first:last], weight, out=scratch))


def weighted(*models: Tensor, place: Place, **options: Any) -> Tensor:
    """``weighted_into`` a new tensor."""
    out = torch.empty(models[0].shape, dtype=torch.float32, device=models[0].device)
    weighted_into(out, *models, place=place, **options)
    return out.to(models[0].dtype)


METHODS: tuple[Method, ...] = (
    Method(
        name="model_stock",
        function=model_stock,
        inputs=("a",),
        options={"cos_eps": 1e-6, "per": "row", "clamp": False},
        choices={"per": ("row", "tensor")},
        space="delta",
        unit="row",
        measures=(
            Measure(
                gram_of_deltas,
                finish=lambda total, *, place, cos_eps, **_: factor_of_gram(total, cos_eps),
                needed=lambda options: options["per"] == "tensor",
            ),
        ),
        placed=True,
        many=True,
        formula="t·mean(deltas), t = n·c / (1 + (n - 1)·c), c the mean cosine of consecutive deltas along the last "
        "dimension, or (per: tensor) of all pairs of whole tensors as in the paper; t = 0 where 1 + (n - 1)·c is not "
        "positive; clamp keeps t in 0..1",
        reference="Jang et al. 2024, arXiv:2403.19522; sd-mecha model_stock (per: row, without its pole)",
        into=model_stock_into,
    ),
    Method(
        name="geometric_median",
        function=weighted,
        inputs=("a",),
        options={"eps": 1e-6, "maxiter": 100, "ftol": 1e-20},
        measures=(
            Measure(
                gram_around_first,
                finish=lambda total, *, place, eps, maxiter, ftol: weiszfeld.median_weights(total, eps, maxiter, ftol),
            ),
        ),
        placed=True,
        many=True,
        formula="the point with the least mean distance from all models, one distance for a whole tensor",
        reference="Pillutla, Kakade and Harchaoui 2019, arXiv:1912.13445 (smoothed Weiszfeld); sd-mecha "
        "geometric_median",
        into=weighted_into,
    ),
)
