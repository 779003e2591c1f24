"""The grid as a strategy: all cells in one round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_astolfo.search.order import NOTHING, Sizes, drawing_order
from lib_astolfo.search.plan import Plan
from lib_astolfo.search.strategies.base import Tried, Values


@dataclass(frozen=True)
class Grid:
    """Every cell of the plan, in the order that rewrites the fewest bytes."""

    plan: Plan
    sizes: Sizes = NOTHING

    @property
    def most(self) -> int:
        return len(self.plan.cells)

    def propose(self, rounds: Sequence[Sequence[Tried]]) -> list[Values]:
        return [] if rounds else [dict(cell.values) for cell in drawing_order(self.plan, self.sizes)]
