"""Which strategy the settings of a search ask for, and the plan of the cells that it chooses among."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from .study_plan import prepare

if TYPE_CHECKING:
    from lib_astolfo.search.plan import Plan
    from lib_astolfo.search.strategies.base import Strategy
    from lib_astolfo.search.strategies.space import Point, Space

    from .search import SearchSettings
    from .workspace import Workspace

STRATEGIES = ("refine", "grid", "additive", "tpe", "gp", "cmaes")


def make(settings: SearchSettings, workspace: Workspace) -> tuple[Plan, Strategy]:
    """Plan and strategy. Errors: BadInput naming the key."""
    if settings.strategy not in STRATEGIES:
        raise BadInput("strategy", repr(settings.strategy), "one of " + ", ".join(STRATEGIES))
    if settings.strategy == "refine":
        return _refine(settings, workspace)
    if settings.strategy == "grid":
        return _grid(settings, workspace)
    return _sampled(settings, workspace)


def _refine(settings: SearchSettings, workspace: Workspace) -> tuple[Plan, Strategy]:
    from lib_astolfo.search.strategies.refine import Refine

    others = {name: values for name, values in settings.axes.items() if name != settings.axis}
    plan = prepare(replace(settings, axes={settings.axis: [settings.low, settings.high], **others}), workspace)
    names = ("axis", "low", "high", "coarse", "finer", "rounds", "within", "guard")
    return plan, Refine(plan, **{name: getattr(settings, name) for name in names})


def _grid(settings: SearchSettings, workspace: Workspace) -> tuple[Plan, Strategy]:
    from lib_astolfo.search.strategies.fixed import Grid

    from .study_plan import study_sizes

    plan = prepare(settings, workspace)
    return plan, Grid(plan, study_sizes(plan, workspace))


def _sampled(settings: SearchSettings, workspace: Workspace) -> tuple[Plan, Strategy]:
    from lib_astolfo.search.strategies.sampled import Sampled
    from lib_astolfo.search.strategies.space import first_values, read_space

    axes = settings.axes or {"blocks": "0-1"}
    names = block_names(settings, workspace) if "blocks" in axes else ()
    space = read_space(axes, names)
    plan = prepare(replace(settings, axes=first_values(axes, space)), workspace)
    if plan.primary is None:
        raise BadInput("scores", ", ".join(plan.scores) or "none", "a score that has a better side")
    given = warm_points(settings, space, workspace) if settings.warm_start else []
    shared: dict[str, Any] = {"evaluations": settings.evaluations, "each": settings.each_round, "seed": settings.seed}
    return plan, Sampled(settings.strategy, space, plan.primary, given=tuple(given), **shared)


def block_names(settings: SearchSettings, workspace: Workspace) -> tuple[str, ...]:
    """The blocks that are searched: those named, auto-MBW's with its table, else all of the base's layout."""
    from lib_astolfo.checkpoints.blocks import BLOCKS
    from lib_astolfo.checkpoints.prediction import layout_of
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.merging.recipes.autombw import LINE

    if settings.block_names:
        return tuple(dict.fromkeys(name.upper() for name in settings.block_names))
    base = settings.models.get("a")
    if not base:
        raise BadInput("models.a", "nothing", "the name of the base checkpoint")
    with CheckpointFile.open(workspace.resolve(base)) as file:
        family = layout_of(file).family
    if settings.warm_start and family == "sd1":
        return ("BASE", *LINE)
    return BLOCKS[family]


def warm_points(settings: SearchSettings, space: Space, workspace: Workspace) -> list[Point]:
    """The best different rows of auto-MBW's table as points; what it does not name is A's, as it leaves it."""
    from lib_astolfo.merging.recipes.autombw import LINE, table

    path = _table(settings.warm_start, workspace)
    try:
        rows = table(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("warm_start", error, "a table of auto-MBW's evaluations (CSV)") from error
    named = [one.name for one in space.dimensions if one.block]
    if not set(named) & set(LINE):
        raise BadInput("warm_start", f"ratios of {LINE[0]} to {LINE[-1]}", "a search over blocks with these names")
    found: list[Point] = []
    for row in rows:
        shares = dict(zip(LINE, row.weights, strict=True))
        point = space.uniform(0.5)
        point |= {one.name: one.fitted(shares.get(one.name, 0.0)) for one in space.dimensions if one.block}
        if point not in found:
            found.append(point)
        if len(found) == settings.warm_rows:
            break
    return found


def _table(name: str, workspace: Workspace) -> Path:
    """The table: any file on the command line, else one in the outputs folder. Errors: BadInput."""
    from .grid import named_folder

    if workspace.free_paths and Path(name).expanduser().is_file():
        return Path(name).expanduser()
    path = named_folder(name, workspace)
    if path is None or not path.is_file():
        raise BadInput("warm_start", repr(name), "the name of a table in the outputs folder")
    return path
