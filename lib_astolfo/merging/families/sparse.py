"""TIES, DARE and DELLA: deltas thinned at random, cut to the largest and to an elected sign, then put together.

TIES (Yadav et al. 2023, arXiv:2306.01708): each model keeps its largest ``k``·n values; the sign of an element is
that of the sum of all deltas; those of that sign are averaged.  DARE (Yu et al. 2023, arXiv:2311.03099) drops elements
at random and rescales the rest; DELLA (Deep et al. 2024, arXiv:2406.11617) drops small ones more often than large ones.

The names and options are sd-mecha's. Two of them mean here what their names and papers say, as in sd-mecha before
commit d61c178 (2025-02-03), which turned both around:

* ``vote_sgn``: true, each delta votes with its sign alone; false, with its value (the paper).
  sd-mecha 1.1: the other way round.
* ``apply_stock``: true, the sum is scaled by Model Stock's factor t; false, it is not.
  sd-mecha 1.1: the other way round.

Further differences: a value that is not finite is handed on and so reported, not set to 0; the masks depend on seed,
tensor name, model and position alone (``chance``), not on the order of the work; a tensor without elements is returned.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.merging import ranks, weiszfeld
from lib_astolfo.merging.families import counting
from lib_astolfo.merging.families.counting import VALUES, WEIGHTS, check, source_of
from lib_astolfo.merging.families.robust import stock_factor
from lib_astolfo.merging.families.thinning import Thinning, add_up, flat, last_dimension, tiles
from lib_astolfo.merging.method import Measure, Method, Option, Place

SIGN_OPTIONS: dict[str, Option] = {"k": 1.0, "vote_sgn": False}
MEDIAN_OPTIONS: dict[str, Option] = {"apply_median": False, "eps": 1e-6, "maxiter": 100, "ftol": 1e-20}
STOCK_OPTIONS: dict[str, Option] = {"apply_stock": False, "cos_eps": 1e-6}
DROP_OPTIONS: dict[str, Option] = {"probability": 0.9, "della_eps": 0.0, "rescale": True, "seed": 0}


def ties_into(out: Tensor, *deltas: Tensor, place: Place, **options: Any) -> None:
    """Merge a part: the arithmetic of all three methods.

    Args:
        out: float32, contiguous, of the deltas' shape.
        deltas: float32 parts.
        place: with the four figures of ``MEASURES``.
        options: of the method; those that it lacks are off.
    """
    check(options)
    if not out.numel():
        return
    if math.isclose(float(options.get("probability", 0.0)), 1.0):
        out.zero_()
        return
    thinning = thinning_of(deltas, place, options)
    finish = _finisher(deltas, place, options)
    parts = flat(deltas)
    total = out.view(-1)
    row = last_dimension(deltas[0], place) if options.get("apply_stock", False) else 0
    rows = sign = torch.empty(0)
    for first, last in tiles(parts, place.start, row):
        if not rows.numel() or rows.shape[1] < last - first:
            rows = parts[0].new_empty(len(parts), last - first)
            sign = parts[0].new_empty(last - first)
        tile = [part[first:last] for part in parts]
        own, its_sign, into = rows[:, : last - first], sign[: last - first], total[first:last]
        thinning.elected(tile, place.start + first, own, its_sign)
        finish(into, own)
        into.mul_(its_sign)
        if options.get("probability") and options["rescale"]:
            into.div_(1 - options["probability"])


def thinning_of(deltas: Sequence[Tensor], place: Place, options: Mapping[str, Any]) -> Thinning:
    """What happens to each model's elements before the sum, from the figures measured so far."""
    lambdas: tuple[float, ...] = ()
    if len(place.measured) > VALUES and place.measured[VALUES].numel():
        lambdas = tuple(ranks.just_below(value) for value in place.measured[VALUES].tolist())
    return Thinning(source_of(deltas, place, options), lambdas, bool(options.get("vote_sgn", False)))


def _finisher(deltas: Sequence[Tensor], place: Place, options: Mapping[str, Any]) -> Callable[[Tensor, Tensor], None]:
    """What puts the filtered rows of a tile together; overwrites them."""
    if options.get("apply_median", False):
        return functools.partial(_median, weights=place.measured[WEIGHTS].tolist())
    if options.get("apply_stock", False) and len(deltas) > 1:
        return functools.partial(_stock_mean, length=last_dimension(deltas[0], place), cos_eps=options["cos_eps"])
    return _mean


def _mean(out: Tensor, rows: Tensor) -> None:
    """Sum over the number of those that are not 0."""
    add_up(rows, out)
    count = rows[0].gt_(0)
    for row in rows[1:]:
        count.add_(row.gt_(0))
    out.div_(count.clamp_(min=1))


def _stock_mean(out: Tensor, rows: Tensor, length: int, cos_eps: float) -> None:
    """The mean scaled by Model Stock's factor of each row of the last dimension."""
    factor = stock_factor([row.view(-1, length) for row in rows], cos_eps)
    _mean(out, rows)
    out.view(-1, length).mul_(factor)


def _median(out: Tensor, rows: Tensor, weights: list[float]) -> None:
    """Sum with the weights of the geometric median."""
    torch.mul(rows[0], weights[0], out=out)
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        out.add_(row.mul_(weight))


def gram_of_filtered(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """Products of the filtered deltas with each other, float64 [models, models]."""
    check(options)
    thinning = thinning_of(deltas, place, options)
    parts = flat(deltas)
    gram = torch.zeros(len(parts), len(parts), dtype=torch.float64, device=parts[0].device)
    rows = sign = wide = torch.empty(0)
    for first, last in tiles(parts, place.start):
        if not rows.numel() or rows.shape[1] < last - first:
            rows = parts[0].new_empty(len(parts), last - first)
            sign = parts[0].new_empty(last - first)
            wide = torch.empty(rows.shape, dtype=torch.float64, device=rows.device)
        own = rows[:, : last - first]
        thinning.elected([part[first:last] for part in parts], place.start + first, own, sign[: last - first])
        weiszfeld.add_gram(gram, own, wide[:, : last - first])
    return gram


MEASURES = (
    *counting.MEASURES,
    Measure(
        gram_of_filtered,
        finish=lambda total, *, place, eps, maxiter, ftol, **_: weiszfeld.median_weights(total, eps, maxiter, ftol),
        needed=lambda options: bool(options.get("apply_median", False)),
    ),
)


def ties(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """``ties_into`` a new tensor of the deltas' shape and dtype; computed in float32."""
    out = torch.empty(deltas[0].shape, dtype=torch.float32, device=deltas[0].device)
    ties_into(out, *(delta.to(torch.float32) for delta in deltas), place=place, **options)
    return out.to(deltas[0].dtype)


def _entry(name: str, unit: str, options: Mapping[str, Option], formula: str, reference: str) -> Method:
    return Method(
        name=name,
        function=ties,
        inputs=("a",),
        options=options,
        space="delta",
        unit=unit,
        measures=MEASURES,
        placed=True,
        many=True,
        formula=formula,
        reference=reference,
        into=ties_into,
    )


METHODS: tuple[Method, ...] = (
    _entry(
        "ties_sum",
        "element",
        SIGN_OPTIONS,
        "mean of those of the k·n largest deltas of each model that have the elected sign: the sign of the sum of "
        "deltas (vote_sgn: of the sum of their signs)",
        "Yadav et al. 2023, arXiv:2306.01708, algorithm 1; sd-mecha ties_sum (its vote_sgn since 1.0 is inverted)",
    ),
    _entry(
        "ties_sum_extended",
        "row",
        {**SIGN_OPTIONS, "k": 0.2, **STOCK_OPTIONS, **MEDIAN_OPTIONS},
        "ties_sum, times Model Stock's t if apply_stock; the geometric median of the filtered deltas if apply_median",
        "arXiv:2306.01708; Jang et al. 2024, arXiv:2403.19522; sd-mecha ties_sum_extended (its vote_sgn and "
        "apply_stock since 1.0 are inverted)",
    ),
    _entry(
        "ties_sum_with_dropout",
        "row",
        {**DROP_OPTIONS, **SIGN_OPTIONS, "k": 0.2, **STOCK_OPTIONS, **MEDIAN_OPTIONS},
        "ties_sum_extended of deltas whose elements are dropped with the chance probability (DELLA: less often the "
        "larger, by della_eps over all ranks), divided by 1 - probability if rescale",
        "Yu et al. 2023, arXiv:2311.03099 (DARE); Deep et al. 2024, arXiv:2406.11617 (DELLA); sd-mecha "
        "ties_sum_with_dropout (its vote_sgn and apply_stock since 1.0 are inverted)",
    ),
)
