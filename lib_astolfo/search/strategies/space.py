"""What a sampler searches: numbers in a range, choices, and a ratio for every block, and cells made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.search.axes import ALIASES, AXES, expand
from lib_astolfo.search.values import Blocks, plain

BLOCKS = "blocks"
DIGITS = 4  # of a ratio: finer ones write the same weights
_RANGE = re.compile(r"^\s*([-+.\deE]+?)\s*-\s*([-+.\deE]+?)\s*(?:\(\s*\+?\s*([.\deE]+)\s*\))?\s*$")

Point = dict[str, Any]  # dimension to value


@dataclass(frozen=True)
class Dimension:
    """A number from ``low`` to ``high`` (in steps, if ``step``), or one of ``choices``. ``block``: it is a block's."""

    name: str
    low: float = 0.0
    high: float = 1.0
    step: float = 0.0
    choices: tuple[Any, ...] = ()
    block: bool = False

    def fitted(self, value: float) -> float:
        """A number within the range, on a step."""
        value = min(max(float(value), self.low), self.high)
        if self.step:
            value = min(self.low + self.step * round((value - self.low) / self.step), self.high)
        return round(value, DIGITS)


@dataclass(frozen=True)
class Space:
    """The dimensions of a search."""

    dimensions: tuple[Dimension, ...]

    def values(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The cell's values at a point."""
        blocks = {one.name: one.fitted(point[one.name]) for one in self.dimensions if one.block}
        found: dict[str, Any] = {BLOCKS: Blocks.of(blocks)} if blocks else {}
        for one in self.dimensions:
            if one.block:
                continue
            found[one.name] = one.choices[point[one.name]] if one.choices else _whole(one, one.fitted(point[one.name]))
        return found

    def point(self, values: Mapping[str, Any]) -> Point:
        """The opposite of ``values``."""
        blocks = values[BLOCKS].to_dict() if BLOCKS in values else {}
        return {
            one.name: blocks[one.name]
            if one.block
            else one.choices.index(values[one.name])
            if one.choices
            else values[one.name]
            for one in self.dimensions
        }

    def uniform(self, share: float) -> Point:
        """Every number at this share of its range, the first of every choice."""
        return {
            one.name: 0 if one.choices else one.fitted(one.low + share * (one.high - one.low))
            for one in self.dimensions
        }


def _whole(one: Dimension, value: float) -> Any:
    return AXES[one.name].parse(one.name, round(value) if one.name in ("steps", "seed") else value)


def read_space(axes: Mapping[str, Any], block_names: Sequence[str]) -> Space:
    """The space of a search's ``axes``. Errors: BadInput naming the axis."""
    found: list[Dimension] = []
    for given_name, given in axes.items():
        name = ALIASES.get(given_name, given_name)
        if name == BLOCKS:
            found += _blocks(given, block_names)
            continue
        bounds = _bounds(given) if name in AXES else None
        if bounds is None:
            values = expand(name, given)
            found.append(Dimension(name, choices=values))
            continue
        low, high, step = (AXES[name].parse(f"axes.{name}", value) if value else value for value in bounds)
        _check(name, low, high)
        found.append(Dimension(name, float(low), float(high), float(step)))
    if not found:
        raise BadInput("axes", "none", "at least one range, as `blocks: 0-1`")
    return Space(tuple(found))


def _blocks(given: Any, names: Sequence[str]) -> Iterator[Dimension]:
    bounds = _bounds(given)
    if bounds is None:
        raise BadInput(
            "axes.blocks", repr(given), "a range such as `0-1` or `0-1 (+0.05)`, for the ratio of each block"
        )
    if not names:
        raise BadInput("block_names", "none", "the blocks that are searched")
    _check(BLOCKS, *bounds[:2])
    yield from (Dimension(name, *bounds, block=True) for name in names)


def _bounds(given: Any) -> tuple[float, float, float] | None:
    """(low, high, step or 0) of a range, None for anything else."""
    found = _RANGE.match(given) if isinstance(given, str) else None
    if found is None:
        return None
    try:
        return float(found[1]), float(found[2]), float(found[3] or 0.0)
    except ValueError:
        return None


def _check(name: str, low: float, high: float) -> None:
    if not low < high:
        raise BadInput(f"axes.{name}", f"{low:g} to {high:g}", "a rising range")


def first_values(axes: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Axes for a plan of a search in this space: every choice, one value of every range."""
    middle = space.values(space.uniform(0.5))
    given = {ALIASES.get(name, name): value for name, value in axes.items()}
    choices = {one.name for one in space.dimensions if one.choices}
    return {name: given[name] if name in choices else [plain(middle[name])] for name in given}
