"""``differences``: how far checkpoints are from each other, as table, picture and figures."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import difference_files
from .names import resolve_as

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .workspace import Workspace

MOST = 300  # models beside each other


@dataclass(frozen=True)
class DifferencesSettings:
    """Two checkpoints by block and key; with a base also which way each went from it. Three and more, with their base:
    how far each went, and which of them went the same way. L2 distances, all sums in fp64."""

    models: list[str] = field(default_factory=list)  # two checkpoints, or more beside a base
    base: str = ""  # the checkpoint they come from
    top: int = 40  # keys that differ most, in the picture and in the result; the table in the folder has all
    threads: int = 2  # 1 to 64; the figures do not depend on it

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise BadInput("threads", self.threads, "a whole number from 1 to 64")
        if not 0 <= self.top <= 200:
            raise BadInput("top", self.top, "a whole number from 0 to 200")


def check(settings: DifferencesSettings, workspace: Workspace) -> DifferencesSettings:
    """Refuse names that are not there, and too few of them. Errors: BadInput."""
    models = list(settings.models)
    if len(models) < 2:
        raise BadInput("models", f"{len(models)} checkpoints", "two, or more and their base")
    if len(models) > MOST:
        raise BadInput("models", f"{len(models)} checkpoints", f"at most {MOST}")
    if len(models) > 2 and not settings.base:
        raise BadInput("base", "nothing", f"the checkpoint that the {len(models)} models come from")
    for name in models:
        if len(models) > 2 and models.count(name) > 1:
            raise BadInput("models", f"{name} twice", "each checkpoint once")
        resolve_as(workspace, "models", name)
    if settings.base:
        resolve_as(workspace, "base", settings.base)
    return replace(settings, models=models)


def run(settings: DifferencesSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """The figures; ``files`` and ``paths`` are the table, picture and lists in the job's folder.

    Two models: ``total``, ``blocks``, ``parts``, ``kinds``, ``top`` (key to figures), ``only_a``, ``only_b``,
    ``shapes``, ``not_finite``; more: ``norms``, ``cosines``, ``distances``, ``blocks``. Errors: BadInput, Failed.
    """
    settings = check(settings, workspace)
    result = _pair(settings, workspace, task) if len(settings.models) == 2 else _many(settings, workspace, task)
    task.event(show(result).splitlines()[0])
    return result


def _pair(settings: DifferencesSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.merging.differences import compare

    with ExitStack() as stack:
        names = [*settings.models, *([settings.base] if settings.base else [])]
        files = [stack.enter_context(CheckpointFile.open(resolve_as(workspace, "models", name))) for name in names]
        found = compare(*files, threads=settings.threads, progress=task.progress)
    whole = found.to_dict()
    head = {"models": settings.models, "base": settings.base}
    top = {name: whole["keys"][name] for name in found.top(settings.top)}
    result = {**head, **{name: value for name, value in whole.items() if name != "keys"}, "top": top}
    files_there = difference_files.write_pair(result, whole["keys"], found.distances(), task.folder)
    return {**result, **files_there}


def _many(settings: DifferencesSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    from dataclasses import asdict

    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.merging.relations import relate

    with ExitStack() as stack:
        base = stack.enter_context(CheckpointFile.open(resolve_as(workspace, "base", settings.base)))
        files = {
            name: stack.enter_context(CheckpointFile.open(resolve_as(workspace, "models", name)))
            for name in settings.models
        }
        found = relate(files, (settings.base, base), threads=settings.threads, progress=task.progress)
    result = asdict(found)
    return {**result, **difference_files.write_many(result, task.folder)}


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    lines = difference_files.pair_lines(result) if "total" in result else difference_files.many_lines(result)
    return "\n".join([*lines, "", *result["paths"].values()] if "paths" in result else lines)
