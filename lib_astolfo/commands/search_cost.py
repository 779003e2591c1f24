"""What a grid or a search will cost, before it starts: cells, pictures, bytes written, and the time where it is known.

The time is that of one network call of earlier grids and searches with a base of the same family at the same size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import settings as reading
from .registry import COMMANDS

if TYPE_CHECKING:
    from lib_astolfo.jobs import Job
    from lib_astolfo.search.order import Cost

    from .workspace import Workspace

KINDS = ("grid", "search")
LOOKED_AT = 100  # jobs, for the time of a call
ENOUGH = 3  # studies whose times are taken, the newest


@dataclass(frozen=True)
class Estimate:
    """``cost``: what the machine is asked for, ``most``: at most, for a search that may end before; ``seconds`` None
    where nothing like it was measured; ``measured``: studies that the time rests on."""

    cost: Cost
    most: bool
    seconds: float | None
    measured: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        shown = {"most": self.most, "seconds": self.seconds, "measured": self.measured, "words": self.words()}
        return {**self.cost.to_dict(), **shown}

    def words(self) -> str:
        """One line for people."""
        each = None if self.seconds is None else self.seconds / max(self.cost.pictures, 1)
        text = self.cost.describe(each)
        return f"at most {text}" if self.most else text


def estimate(kind: str, values: Mapping[str, Any], workspace: Workspace) -> Estimate:
    """The cost of ``grid`` or ``search`` with these settings. Errors: BadInput naming the key."""
    command = COMMANDS[kind]
    given = workspace.checked(command, reading.from_dict(command.settings, values))
    cost, most = _grid(given, workspace) if kind == "grid" else _search(given, workspace)
    times = list(_call_times(workspace, given.models.get("a", ""), (given.width, given.height)))[:ENOUGH]
    seconds = None if not times else cost.calls * sorted(times)[len(times) // 2]
    return Estimate(cost, most, seconds, len(times))


def _grid(given: Any, workspace: Workspace) -> tuple[Cost, bool]:
    from lib_astolfo.search.order import cost

    from .study_plan import prepare, study_sizes

    plan = prepare(given, workspace)
    return cost(plan, study_sizes(plan, workspace)), False


def _search(given: Any, workspace: Workspace) -> tuple[Cost, bool]:
    """The most that a search may draw: each cell writes its weights, as they all may differ, and is guided."""
    from lib_astolfo.search.axes import AXES, WEIGHTS
    from lib_astolfo.search.order import cost
    from lib_astolfo.search.plan import Plan

    from .search import prepare
    from .study_plan import study_sizes

    plan, strategy = prepare(given, workspace)
    sizes = study_sizes(plan, workspace)
    if given.strategy == "grid":
        return cost(plan, sizes), False
    first = cost(replace(plan, cells=plan.cells[:1]), sizes)
    cells, guided = strategy.most, 1 if given.cfg == 1.0 and "cfg" not in plan.axes else 2
    heavy = any(AXES[name].cost >= WEIGHTS for name in plan.axes)
    writes = _writes(plan, given, cells) if heavy else 1
    assert isinstance(plan, Plan)
    pictures = cells * given.pictures
    whole = sizes.model(given.models.get("a", ""))
    rewritten = first.rewritten + (writes - 1) * whole
    calls = pictures * max(plan.axes.get("steps", (given.steps,))) * guided
    return replace(first, cells=cells, pictures=pictures, calls=int(calls), merges=writes, rewritten=rewritten), True


def _writes(plan: Any, given: Any, cells: int) -> int:
    """How often weights are written: of ``refine`` once for each value, whatever stands beside it."""
    from lib_astolfo.search.axes import AXES, WEIGHTS

    if given.strategy != "refine":
        return cells
    light = 1
    for name, values in plan.axes.items():
        if name != given.axis and AXES[name].cost < WEIGHTS:
            light *= len(values)
    return max(1, -(-cells // light))


def _call_times(workspace: Workspace, base: str, size: tuple[int, int]) -> Iterator[float]:
    """Seconds of one network call in the studies of models like this one, the newest first."""
    families = {entry.name: (entry.family, entry.size) for entry in workspace.host.checkpoints()}
    for job in workspace.jobs.list(LOOKED_AT):
        if job.kind not in KINDS or not job.result:
            continue
        settings = job.settings
        other = (settings.get("models") or {}).get("a", "")
        if families.get(other, other) != families.get(base, base):
            continue
        if (settings.get("width", 0), settings.get("height", 0)) != size:
            continue
        found = _call_time(job)
        if found is not None:
            yield found


def _call_time(job: Job) -> float | None:
    """Seconds of one call in a study; None where its cells do not tell."""
    seconds, calls, settings = 0.0, 0.0, job.settings
    for cell in (job.result or {}).get("cells", ()):
        values = cell.get("values", {})
        steps = values.get("steps", settings.get("steps", 0))
        guided = 1 if values.get("cfg", settings.get("cfg")) == 1.0 else 2
        seconds += cell.get("seconds", 0.0)
        calls += guided * steps * settings.get("pictures", 0)
    return seconds / calls if seconds > 0 and calls > 0 else None
