"""``arithmetic``: what a training changed, carried to another model; the norms it carries, and the merge on request."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import difference_files, merge
from .names import resolve_as
from .outputs import checkpoint_target

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task
    from lib_astolfo.merging.recipe import Recipe

    from .workspace import Workspace


@dataclass(frozen=True)
class ArithmeticSettings:
    """A + factor·(B - C) with a mask over blocks: B was trained from C, A is to have what the training changed (v
    prediction, rectified flow). Tells by block how large that is beside A's weights; writes a file only with output."""

    models: list[str] = field(default_factory=list)  # A, B, C: the one that is changed, the trained one, what it was
    factor: float = 1.0  # share of the difference; 0.1 to 0.55 is usual across models
    mask: Any = None  # blocks that are carried: names in a list, or shares of factor as a recipe's blocks; empty: all
    base: str = ""  # where A comes from: tells whether the difference crosses A's own way
    dtype: str = "fp16"  # of the file: fp16 bf16 fp32 keep
    output: str = ""  # name of the merged file; empty: only the report and the recipe
    overwrite: bool = False  # an existing file may be replaced
    threads: int = 2  # 1 to 64; neither bytes nor figures depend on it

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise BadInput("threads", self.threads, "a whole number from 1 to 64")


def check(settings: ArithmeticSettings, workspace: Workspace) -> ArithmeticSettings:
    """Refuse what cannot become a merge. Errors: BadInput."""
    if len(settings.models) != 3:
        raise BadInput("models", f"{len(settings.models)} checkpoints", "three: A, B (trained) and C (B before)")
    for name in settings.models:
        resolve_as(workspace, "models", name)
    if settings.base:
        resolve_as(workspace, "base", settings.base)
    recipe_of(settings)
    if settings.output:
        checkpoint_target(workspace, settings.output, overwrite=settings.overwrite)
    elif settings.overwrite:
        raise BadInput("overwrite", "true", "output beside it, else nothing is written")
    return settings


def recipe_of(settings: ArithmeticSettings) -> Recipe:
    """The recipe of the settings. Errors: BadInput naming the key."""
    from lib_astolfo.merging.arithmetic import carry

    mask = settings.mask if settings.mask not in ("", [], {}) else None
    target, trained, untrained = settings.models
    return carry(target, trained, untrained, settings.factor, mask, dtype=settings.dtype)


def run(settings: ArithmeticSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """``recipe``, ``blocks`` and ``total`` (see ``merging.arithmetic.Carried``), ``merged`` (of ``merge``, or None).

    Errors: BadInput, Failed.
    """
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.merging.arithmetic import report

    settings = check(settings, workspace)
    recipe = recipe_of(settings)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(CheckpointFile.open(resolve_as(workspace, "models", name)))
            for name in dict.fromkeys(settings.models)
        }
        base = None
        if settings.base:
            base = stack.enter_context(CheckpointFile.open(resolve_as(workspace, "base", settings.base)))
        found = report(recipe, files, base, threads=settings.threads, progress=task.progress)
    result = {"recipe": recipe.to_dict(), "description": recipe.describe(), "base": settings.base, **found.to_dict()}
    result.update(difference_files.write_carried(result, recipe.to_yaml(), task.folder))
    task.event(difference_files.carried_lines(result)[0])
    return {**result, "merged": _merge(settings, recipe, workspace, task) if settings.output else None}


def _merge(settings: ArithmeticSettings, recipe: Recipe, workspace: Workspace, task: Task) -> dict[str, Any]:
    given = merge.MergeSettings(
        method=recipe.method,
        models=dict(recipe.models),
        ratio=settings.factor if recipe.ratio is not None else None,
        blocks=dict(recipe.blocks) if recipe.blocks is not None else None,
        dtype=settings.dtype,
    )
    written = replace(given, output=settings.output, overwrite=settings.overwrite, threads=settings.threads)
    return merge.write(written, workspace, task)


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    lines = [*difference_files.carried_lines(result), "", *result["paths"].values()]
    return "\n".join([*lines, result["merged"]["output"]] if result["merged"] is not None else lines)
