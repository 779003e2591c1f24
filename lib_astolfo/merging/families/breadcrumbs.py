"""Model Breadcrumbs: sum of deltas without their largest and their smallest values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.merging import ranks
from lib_astolfo.merging.families.counting import count_ranks
from lib_astolfo.merging.families.thinning import flat, tiles
from lib_astolfo.merging.method import Measure, Method, Place


def kept_ranks(count: int, density: float, gamma: float) -> tuple[int, int]:
    """First and last rank (1 the smallest magnitude) of the values that are kept; none if the first is the greater.

    int(density·n) values are kept below the int(gamma·n) largest, or, if there are too few below, with the largest of
    these as mergekit does.
    """
    target, top = int(density * count), int(gamma * count)
    top = min(top, count - target)
    return count - target - top + 1, count - top


def breadcrumbs_into(out: Tensor, *deltas: Tensor, place: Place, density: float, gamma: float) -> None:
    """Sum of the values between the two magnitudes of each delta; equal magnitudes are kept or left together."""
    _check(density, gamma)
    parts = flat(deltas)
    total = out.view(-1)
    ends = place.measured[1].view(-1, 2).tolist() if density < 1 else []
    for first, last in tiles(parts, place.start):
        into = total[first:last].zero_()
        kept, dropped = torch.empty_like(into), torch.empty_like(into)
        for model, part in enumerate(parts):
            delta = part[first:last]
            if ends:
                least, most = ends[model]
                torch.hardshrink(delta, most, out=dropped)
                if least > 0:
                    delta = torch.hardshrink(delta, ranks.just_below(least), out=kept)
                delta = torch.sub(delta, dropped, out=kept)
            into.add_(delta)


def breadcrumbs(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """``breadcrumbs_into`` a new tensor of the deltas' shape and dtype; computed in float32."""
    out = torch.empty(deltas[0].shape, dtype=torch.float32, device=deltas[0].device)
    breadcrumbs_into(out, *deltas, place=place, **options)
    return out.to(deltas[0].dtype)


def count_lower(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """Magnitudes in the bins of both ends by the lower bits, int64 [2·models, LOWER]."""
    parts = flat(deltas)
    bins = place.measured[0][:, 0].tolist()
    return ranks.counted([ranks.lower_bits(parts[row // 2], int(bin_)) for row, bin_ in enumerate(bins)], ranks.LOWER)


def _count_upper(*deltas: Tensor, place: Place, density: float, gamma: float) -> Tensor:
    _check(density, gamma)
    return count_ranks(*deltas, place=place)


def _bins(total: Tensor, *, place: Place, density: float, gamma: float) -> Tensor:
    def wanted(count: int) -> list[int]:
        first, last = kept_ranks(count, density, gamma)
        return [min(first, max(count, 1)), max(last, 1)]

    return ranks.bins_of(total, wanted)


def _check(density: float, gamma: float) -> None:
    for name, value in (("density", density), ("gamma", gamma)):
        if not 0 <= value <= 1:
            raise BadInput(name, value, "0 to 1")


METHODS: tuple[Method, ...] = (
    Method(
        name="breadcrumbs",
        function=breadcrumbs,
        inputs=("a",),
        options={"density": 0.9, "gamma": 0.01},
        space="delta",
        measures=(
            Measure(_count_upper, ranks.add_counts, finish=_bins, needed=lambda options: float(options["density"]) < 1),
            Measure(
                count_lower,
                ranks.add_counts,
                finish=lambda total, *, place, **_: ranks.kth_value(place.measured[0], total),
                needed=lambda options: float(options["density"]) < 1,
            ),
        ),
        placed=True,
        many=True,
        formula="sum of the deltas, each without its gamma·n largest values, of the rest only the density·n largest "
        "(one at least); gamma = 0 keeps the density·n largest of all",
        reference="Davari and Belilovsky 2023, arXiv:2312.06795; mergekit breadcrumbs, and magnitude for gamma = 0",
        into=breadcrumbs_into,
    ),
)
