"""Figures of thinned deltas: how their magnitudes are distributed, and the k-th of each.

The options are those of ``sparse``; what a method lacks is off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.diffusion.chance import limit
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import ranks
from lib_astolfo.merging.families.thinning import Dropped, Source, Whole, flat, tiles
from lib_astolfo.merging.method import Measure, Place

#: What each of MEASURES, and the one of ``sparse`` after them, puts into ``place.measured``.
RANKS, BINS, VALUES, WEIGHTS = range(4)


def source_of(deltas: Sequence[Tensor], place: Place, options: Mapping[str, Any]) -> Source:
    """What is dropped at random under the options; DELLA needs the figure of ``count_ranks``."""
    if not thins(options):
        return Whole()
    table = place.measured[RANKS] if is_della(options) else None
    keep = limit(1 - float(options["probability"]))
    return Dropped(options["seed"], place.key, len(deltas), keep, None if table is None else table.to(deltas[0].device))


def thins(options: Mapping[str, Any]) -> bool:
    """Whether anything is dropped at random."""
    return is_della(options) or float(options.get("probability", 0.0)) > 0


def is_della(options: Mapping[str, Any]) -> bool:
    """Whether small magnitudes are dropped more often than large ones."""
    return not math.isclose(float(options.get("della_eps", 0.0)), 0.0)


def check(options: Mapping[str, Any]) -> None:
    """Raises BadInput for a share that is none."""
    for name in ("k", "probability"):
        if not 0 <= float(options.get(name, 0.0)) <= 1:
            raise BadInput(name, options[name], "0 to 1")


def count_ranks(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """Magnitudes of each delta by the upper bits, int64 [models, UPPER]."""
    check(options)
    return _counted(deltas, place, Whole())


def count_bins(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """The same of the deltas after dropping; of a small tensor the k-th magnitudes themselves, float64 [models, 1]."""
    check(options)
    source = source_of(deltas, place, options)
    if not _is_small(deltas[0], place):
        return _counted(deltas, place, source)
    found = []
    for model, part in enumerate(flat(deltas)):
        kept = torch.cat([taken.clone() for _, _, taken in _taken(source, model, part, 0)])
        found.append([ranks.kth_magnitude(kept, options["k"])])
    return torch.tensor(found, dtype=torch.float64)


def count_values(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """Magnitudes in the bin of the k-th by the lower bits, int64 [models, LOWER]; those that are known already, as they
    are."""
    bins = place.measured[BINS]
    if bins.shape[1] == 1:
        return bins
    parts = flat(deltas)
    source = source_of(deltas, place, options)
    found = []
    for model, (part, bin_) in enumerate(zip(parts, bins[:, 0].tolist(), strict=True)):
        rows = [ranks.lower_bits(taken, int(bin_)) for _, _, taken in _taken(source, model, part, place.start)]
        found.append(torch.cat(rows) if rows else torch.empty(0, dtype=torch.int32, device=part.device))
    return ranks.counted(found, ranks.LOWER)


def _is_small(part: Tensor, place: Place) -> bool:
    """Whether a part is the whole of a tensor of which nothing need be counted."""
    whole = place.shape is None or part.numel() == math.prod(place.shape)
    return whole and 0 < part.numel() <= ranks.SMALL


def _counted(deltas: Sequence[Tensor], place: Place, source: Source) -> Tensor:
    parts = flat(deltas)
    bits = torch.empty(len(parts), parts[0].numel(), dtype=torch.int32, device=parts[0].device)
    for model, part in enumerate(parts):
        for first, last, taken in _taken(source, model, part, place.start):
            ranks.upper_bits(taken, bits[model, first:last])
    return ranks.counted(bits, ranks.UPPER)


def _taken(source: Source, model: int, part: Tensor, start: int) -> Iterator[tuple[int, int, Tensor]]:
    """A model's thinned delta, tile by tile: first and last element in the part, and the values."""
    row = torch.empty(0)
    for first, last in tiles([part], start):
        row = part.new_empty(last - first) if row.numel() < last - first else row
        yield first, last, source.take(model, part[first:last], start + first, row[: last - first])


def _bins(total: Tensor, *, place: Place, k: float, **_options: Any) -> Tensor:
    return total if total.shape[1] == 1 else ranks.kth_bin(total, k)


def _values(total: Tensor, *, place: Place, **_options: Any) -> Tensor:
    return total[:, 0] if total.shape[1] == 1 else ranks.kth_value(place.measured[BINS], total)


MEASURES = (
    Measure(
        count_ranks,
        ranks.add_counts,
        finish=lambda total, *, place, probability, della_eps, **_: ranks.limits(
            ranks.keep_probability(total, probability, della_eps)
        ),
        needed=is_della,
    ),
    Measure(
        count_bins,
        ranks.add_counts,
        finish=_bins,
        needed=lambda options: float(options["k"]) < 1,
    ),
    Measure(
        count_values,
        ranks.add_counts,
        finish=_values,
        needed=lambda options: float(options["k"]) < 1,
    ),
)
