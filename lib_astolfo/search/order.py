"""In which order the cells of a plan are drawn, so that the fewest bytes are rewritten, and what the plan costs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_astolfo.search.axes import AXES, LOAD, WEIGHTS
from lib_astolfo.search.plan import Cell, Plan

MAX_COMBINATIONS = 5000  # of weights, up to which all orders of the axes are tried
UNKNOWN = 1  # bytes of a file whose size is not known: all are alike then


@dataclass(frozen=True)
class Sizes:
    """Bytes that a change of weights rewrites: of each checkpoint by name, and of the parts of a merge by block."""

    files: Mapping[str, int]
    blocks: Mapping[str, int]

    def model(self, name: str) -> int:
        return self.files.get(name, UNKNOWN)


NOTHING = Sizes({}, {})


@dataclass(frozen=True)
class Cost:
    """What a plan asks of the machine: ``loads`` of another base, ``merges`` into the loaded weights, ``rewritten``
    bytes of both, ``calls`` of the network (two a step where there is guidance)."""

    cells: int
    pictures: int
    calls: int
    loads: int
    merges: int
    rewritten: int

    def to_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def describe(self, seconds: float | None = None) -> str:
        """One line for people; ``seconds``: a picture's, where that is known."""
        text = f"{self.cells} cells, {self.pictures} pictures, {self.calls} network calls; weights written "
        text += f"{self.merges} times ({_size(self.rewritten)})"
        if self.loads:
            text += f", {self.loads} checkpoints loaded"
        if seconds is not None:
            text += f"; about {_time(self.pictures * seconds)}"
        return text + "; no checkpoint file is written"


def _size(count: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        count //= 1000
    return ""


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def drawing_order(plan: Plan, sizes: Sizes = NOTHING) -> tuple[Cell, ...]:
    """The cells of a plan as they are drawn: weights outermost, their axes in the order, and with every other pass
    backwards, that rewrites the fewest bytes; the cells of one merge as they stand in the plan."""
    heavy = [name for name in plan.axes if AXES[name].cost >= WEIGHTS]
    if not heavy:
        return plan.cells
    groups: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault(plan.weights_key(cell), []).append(cell)
    if len(groups) > MAX_COMBINATIONS or len(heavy) == 1:
        return tuple(cell for group in groups.values() for cell in group)
    heads = {tuple(group[0].values[name] for name in heavy): group for group in groups.values()}
    orders = (_combinations(plan, heavy, way) for way in itertools.permutations(heavy))
    best = min(orders, key=lambda order: rewritten(plan, [heads[key][0] for key in order if key in heads], sizes))
    return tuple(cell for key in best if key in heads for cell in heads[key])


def _combinations(plan: Plan, heavy: Sequence[str], way: Sequence[str]) -> list[tuple[Any, ...]]:
    """Every combination of the weights' axes, the first of ``way`` outermost, inner ones there and back again."""
    found: list[dict[str, Any]] = [{}]
    for name in way:
        values = list(plan.axes[name])
        found = [
            {**outer, name: value}
            for index, outer in enumerate(found)
            for value in (values if index % 2 == 0 else values[::-1])
        ]
    return [tuple(one[name] for name in heavy) for one in found]


def change(plan: Plan, before: Cell | None, after: Cell, sizes: Sizes) -> int:
    """Bytes that are rewritten to go from one cell's weights to another's."""
    if before is not None and plan.weights_key(before) == plan.weights_key(after):
        return 0
    base = plan.models_of(after).get("a", "")
    whole = sizes.model(base)
    if before is None or plan.models_of(before).get("a", "") != base:
        return 2 * whole  # loaded, then merged into
    differing = {
        name for name in after.values if AXES[name].cost >= WEIGHTS and after.values[name] != before.values[name]
    }
    if differing == {"blocks"} and sizes.blocks:
        old, new = (cell.values["blocks"].to_dict() for cell in (before, after))
        return sum(sizes.blocks.get(name, 0) for name in {*old, *new} if old.get(name) != new.get(name))
    return whole


def rewritten(plan: Plan, cells: Sequence[Cell], sizes: Sizes = NOTHING) -> int:
    """Bytes that drawing these cells in this order rewrites."""
    return sum(change(plan, before, after, sizes) for before, after in _pairs(None, cells))


def cost(plan: Plan, sizes: Sizes = NOTHING, cells: Sequence[Cell] | None = None) -> Cost:
    """What drawing these cells (None: all, in their best order) costs."""
    order = drawing_order(plan, sizes) if cells is None else tuple(cells)
    keys = [plan.weights_key(cell) for cell in order]
    bases = [plan.models_of(cell).get("a", "") for cell in order]
    pictures = plan.settings.pictures
    return Cost(
        cells=len(order),
        pictures=len(order) * pictures,
        calls=sum(pictures * _calls(plan, cell) for cell in order),
        loads=sum(one != other for one, other in _pairs("", bases)) if _loads(plan) else 0,
        merges=sum(one != other for one, other in _pairs("", keys)),
        rewritten=rewritten(plan, order, sizes),
    )


def _pairs(first: Any, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Every item with the one before it."""
    return zip([first, *items][: len(items)], items, strict=True)


def _loads(plan: Plan) -> bool:
    return any(AXES[name].cost >= LOAD for name in plan.axes)


def _calls(plan: Plan, cell: Cell) -> int:
    guided = cell.values.get("cfg", plan.settings.cfg) != 1.0
    return int(cell.values.get("steps", plan.settings.steps)) * (2 if guided else 1)
