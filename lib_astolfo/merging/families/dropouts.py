"""Dropout with overlap: each element takes the mean of those models' deltas that a random choice names there.

sd-mecha's ``dropout`` ("n-supermario"). ``overlap`` says how often models share an element: with an odd number each
model is dropped by itself; with an even one never two models keep the same element; between them the number of models
that keep an element follows exp(tan(pi·(overlap - 1/2))·size). The original fails there with a TypeError for two models
or more (``torch.lerp`` on numpy arrays); this one computes what it sets out to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib_astolfo.diffusion import chance
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.families.thinning import flat, tiles
from lib_astolfo.merging.method import Method, Place

#: Number of the stream that says how many models keep an element.
SIZES = -1


def size_distribution(count: int, probability: float, overlap: float, overlap_emphasis: float) -> list[float]:
    """Chances that 0, 1, … ``count`` models keep an element; the sum is 1, and all models are alike.

    Args:
        count: of models.
        probability: that none keeps it.
        overlap: counted to and fro between 0 (one model) and 1 (all models): 1.2 is as 0.8, 2 as 0.
        overlap_emphasis: 0, as the overlap says; 1, the nearer the overlap is to 1/2 the more the binomial distribution
            with the chance ``probability`` of keeping.
    """
    sizes = np.arange(1, count + 1)
    ways = np.array([math.comb(count, int(size)) for size in sizes], dtype=np.float64)
    folded = abs((overlap + 1) % 2 - 1)
    if math.isclose(folded, round(folded), abs_tol=1e-9):
        chosen = (sizes == (1 if round(folded) == 0 else count)).astype(np.float64)
    else:
        exponents = math.tan(math.pi * (folded - 0.5)) * sizes + np.log(ways)
        chosen = np.exp(exponents - exponents.max())
        chosen /= chosen.sum()
    binomial = ways * probability**sizes * (1 - probability) ** (count - sizes)
    if binomial.sum() > 0:
        share = 1 - abs(2 * folded - 1)
        chosen = chosen + overlap_emphasis * share * (binomial / binomial.sum() - chosen)
    return [probability, *(chosen * (1 - probability)).tolist()]


def mean_of_kept(out: Tensor, deltas: Sequence[Tensor], masks: Sequence[Tensor], divisor: float) -> None:
    """Mean of the deltas where their mask is 1, over ``divisor``; 0 where none is.

    Args:
        out: float32.
        deltas: float32 of its shape.
        masks: 0 and 1 in any dtype, one for each delta.
    """
    total, kept = out.zero_(), torch.zeros_like(out)
    for delta, mask in zip(deltas, masks, strict=True):
        total.add_(delta * mask)
        kept.add_(mask)
    total.div_(kept.clamp_(min=1).mul_(divisor))


def divisor(probability: float, rescale: float) -> float:
    """(1 - probability)^rescale, 1 where that is not a finite number above 0."""
    if probability == 1:
        return 1.0
    value = (1.0 - probability) ** rescale
    return value if math.isfinite(value) and value > 0 else 1.0


class _Masks:
    """Random masks of one tensor. Each call gives those of the next tile in int32."""

    def __init__(self, count: int, key: str, options: dict[str, Any]) -> None:
        self._streams = [chance.Stream(options["seed"], key, model) for model in range(count)]
        self._sizes = chance.Stream(options["seed"], key, SIZES)
        self._probability = float(options["probability"])
        self._chances: list[float] = []
        if float(options["overlap"]) % 2 != 1:
            names = ("probability", "overlap", "overlap_emphasis")
            self._chances = size_distribution(count, *(float(options[name]) for name in names))

    def __call__(self, start: int, like: Tensor) -> list[Tensor]:
        if not self._chances:
            keep = 1 - self._probability
            return [self._below(stream, start, like, keep) for stream in self._streams]
        return list(subset(self._size(start, like), [stream_of(s, start, like) for s in self._streams]))

    def _size(self, start: int, like: Tensor) -> Tensor:
        """How many models keep each element, int32."""
        words = stream_of(self._sizes, start, like)
        size = torch.zeros_like(words)
        below = 0.0
        for share in self._chances[:-1]:
            below += share
            if below < 1:
                size.add_(words >= chance.limit(below))
            if below >= 1 or math.isclose(below, 1.0):
                break
        return size

    @staticmethod
    def _below(stream: chance.Stream, start: int, like: Tensor, probability: float) -> Tensor:
        words = stream_of(stream, start, like)
        return words.fill_(1) if probability >= 1 else words.lt_(chance.limit(probability))


def stream_of(stream: chance.Stream, start: int, like: Tensor) -> Tensor:
    """The random words of the elements of ``like``, int32."""
    return stream.words(torch.empty(like.shape, dtype=torch.int32, device=like.device), start)


def subset(size: Tensor, words: Sequence[Tensor]) -> list[Tensor]:
    """A random choice of ``size`` models at each element, every choice of that size alike.

    Goes through the models and takes each with the chance (still to take) / (models left).

    Args:
        size: int32.
        words: uniform int32, one tensor for each model.

    Returns:
        masks of 0 and 1, int32.
    """
    left = size.double()
    masks = []
    for model, word in enumerate(words):
        uniform = (word.double() + 2.0**31) / 2.0**32
        taken = (uniform * (len(words) - model) < left).to(torch.int32)
        left.sub_(taken)
        masks.append(taken)
    return masks


def dropout_into(out: Tensor, *deltas: Tensor, place: Place, **options: Any) -> None:
    """Merge a part; see the module."""
    probability = float(options["probability"])
    if not 0 <= probability <= 1:
        raise BadInput("probability", probability, "0 to 1")
    if not 0 <= float(options["overlap_emphasis"]) <= 1:
        raise BadInput("overlap_emphasis", options["overlap_emphasis"], "0 to 1")
    parts = flat(deltas)
    masks: Callable[[int, Tensor], list[Tensor]] = _Masks(len(parts), place.key, options)
    over = divisor(probability, float(options["rescale"]))
    total = out.view(-1)
    for first, last in tiles(parts, place.start):
        tile = [part[first:last] for part in parts]
        mean_of_kept(total[first:last], tile, masks(place.start + first, tile[0]), over)


def dropout(*deltas: Tensor, place: Place, **options: Any) -> Tensor:
    """``dropout_into`` a new tensor of the deltas' shape and dtype; computed in float32."""
    out = torch.empty(deltas[0].shape, dtype=torch.float32, device=deltas[0].device)
    dropout_into(out, *deltas, place=place, **options)
    return out.to(deltas[0].dtype)


METHODS: tuple[Method, ...] = (
    Method(
        name="dropout",
        function=dropout,
        inputs=("a",),
        options={"probability": 0.9, "rescale": 1.0, "overlap": 1.0, "overlap_emphasis": 0.0, "seed": 0},
        space="delta",
        placed=True,
        many=True,
        formula="mean of the deltas kept at each element, over (1 - probability)^rescale; overlap 1: each model is "
        "dropped by itself, 0: no two models keep the same element",
        reference="Yu et al. 2023, arXiv:2311.03099; sd-mecha dropout (whose overlap other than 1 fails)",
        into=dropout_into,
    ),
)
