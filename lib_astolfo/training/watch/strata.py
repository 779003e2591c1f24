"""Losses in strata (bins of the noise level), so that two spans of a run compare whatever levels each happened to draw.

A stratum of a span is its count, the sum of its losses, and sum and sum of squares of their logarithms. Sums are made
in the order of the rows: a history that is read again gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass
class Stratum:
    """``count`` losses: their sum, the sum of their logarithms, and of the squares of these."""

    count: int = 0
    total: float = 0.0
    logs: float = 0.0
    squares: float = 0.0

    def join(self, other: Stratum, sign: int = 1) -> None:
        """Take in another one, or with ``sign`` -1 take it out."""
        self.count += sign * other.count
        self.total += sign * other.total
        self.logs += sign * other.logs
        self.squares += sign * other.squares


class Strata:
    """A span of the history."""

    def __init__(self) -> None:
        self.held: dict[int, Stratum] = {}

    @property
    def count(self) -> int:
        """Losses in all."""
        return sum(stratum.count for stratum in self.held.values())

    def add(self, place: int, value: float, log: float) -> None:
        """One loss."""
        self.held.setdefault(place, Stratum()).join(Stratum(1, value, log, log * log))

    def join(self, other: Strata) -> None:
        """Take in another span."""
        for place, stratum in other.held.items():
            self.held.setdefault(place, Stratum()).join(stratum)

    def means(self, first: int, count: int) -> list[float]:
        """Mean losses of ``count`` strata from the ``first`` on, NaN for empty ones."""
        found = [self.held.get(place, Stratum()) for place in range(first, first + count)]
        return [stratum.total / stratum.count if stratum.count else math.nan for stratum in found]

    def listed(self) -> list[list[float]]:
        """For JSON: [place, count, total, logs, squares] of each that is not empty, in order."""
        held = sorted(self.held.items())
        return [[place, s.count, s.total, s.logs, s.squares] for place, s in held if s.count]

    @classmethod
    def of(cls, listed: Iterable[Sequence[float]]) -> Strata:
        """The opposite of ``listed``."""
        made = cls()
        made.held = {int(place): Stratum(int(count), *rest) for place, count, *rest in listed}
        return made

    @classmethod
    def joined(cls, spans: Iterable[Strata]) -> Strata:
        """Several spans as one."""
        made = cls()
        for span in spans:
            made.join(span)
        return made


@dataclass(frozen=True)
class Change:
    """By how much losses of one span are larger than those of another at the same noise levels: ``log`` is the mean
    difference of logarithms, ``error`` its standard error, ``count`` how many losses it rests on."""

    log: float
    error: float
    count: int

    @property
    def factor(self) -> float:
        """How many times larger."""
        return math.exp(min(self.log, 700.0))

    def beyond(self, factor: float, clear: float) -> bool:
        """Whether it is more than ``factor``, and larger than 1 by ``clear`` standard errors."""
        return self.log > math.log(factor) and self.log > clear * self.error


def change(now: Strata, before: Strata) -> Change | None:
    """``now`` against ``before`` over the strata that both have; None if they share none.

    Strata are weighed by n·m/(n+m), which makes the error least where all have one variance; that variance is taken
    from both spans together, 1 where there are too few losses to tell.
    """
    shared = [(now.held[p], before.held[p]) for p in sorted(now.held) if p in before.held]
    shared = [(a, b) for a, b in shared if a.count and b.count]
    if not shared:
        return None
    weights = [a.count * b.count / (a.count + b.count) for a, b in shared]
    total = math.fsum(weights)
    differences = (a.logs / a.count - b.logs / b.count for a, b in shared)
    log = math.fsum(w * d for w, d in zip(weights, differences, strict=True)) / total
    error = math.sqrt(_variance([s for pair in shared for s in pair]) / total)
    return Change(log, error, sum(a.count for a, _ in shared))


def _variance(strata: Sequence[Stratum]) -> float:
    """Of logarithms within strata, pooled; 1 with fewer than 8 degrees of freedom."""
    freedom = sum(s.count - 1 for s in strata)
    if freedom < 8:
        return 1.0
    inside = math.fsum(max(s.squares - s.logs * s.logs / s.count, 0.0) for s in strata)
    return max(inside / freedom, 1e-4)
