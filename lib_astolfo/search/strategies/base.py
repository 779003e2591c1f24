"""What a strategy is: a function from what was found so far to the next round of cells.

It must be pure: every worker computes the next round by itself from the same database, and a search that was killed
goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lib_astolfo.scoring.score import ScoreValues

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Tried:
    """A cell that is over. ``state``: done, pruned (its scores are of its first pictures) or failed (it has none)."""

    values: Values
    scores: Mapping[str, ScoreValues]
    state: str = "done"


class Strategy(Protocol):
    """Chooses cells."""

    @property
    def most(self) -> int:
        """About how many cells it will ask for, at most."""

    def propose(self, rounds: Sequence[Sequence[Tried]]) -> list[Values]:
        """The next round, none of whose cells was tried, ordered so that few weights are rewritten; [] at the end."""
