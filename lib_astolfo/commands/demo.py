"""``demo``: the whole loop on the digits pair, from two checkpoints to a baked winner and a report in words."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import grid
from .grid import GridSettings

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task
    from lib_astolfo.search.study import StudyResult

    from .workspace import Workspace

SCORES = ["near", "accuracy", "frechet", "brightness"]
PRIMARY = "near"
PROMPTS = 160
MAX_FINER = 6  # ratios added to the coarse ones
WINNER = "winner.safetensors"


@dataclass(frozen=True)
class DemoSettings:
    """How long and how fine; the defaults take a few minutes on two cores."""

    base: str = "digits-eps.safetensors"
    trained: str = "digits-v.safetensors"
    ratios: list[float] = field(default_factory=lambda: [round(0.1 * i, 1) for i in range(11)])
    cfg: list[float] = field(default_factory=lambda: [1.5, 2.5, 4.0])
    uncond: list[Any] = field(default_factory=lambda: ["zero", "null"])
    pictures: int = 64  # a cell
    steps: int = 8
    seed: int = 1
    minutes: float = 3.5  # time in which ratios are added around the best ones; 0: the coarse grid alone
    check: int = 128  # pictures with fresh seeds on which the winner is measured again; 0: none
    output: str = ""  # name of the baked winner in the first models folder; empty: in the demo's folder
    folder: str = ""  # a name in the outputs folder; empty: the job's own

    def __post_init__(self) -> None:
        if not 0 <= self.minutes <= 1440:
            raise BadInput("minutes", self.minutes, "a number from 0 to 1440")


def prompts(seed: int) -> list[str]:
    """Captions of the training in all their forms, digits and colours as even as can be, in a fixed order."""
    from lib_astolfo.demo import digits

    asked = [digits.parse(prompt) for prompt in digits.prompts(PROMPTS, seed=seed)]
    return [digits.caption(i % len(digits.FORMS), one.digit, str(one.colour)) for i, one in enumerate(asked)]


def study_settings(settings: DemoSettings) -> GridSettings:
    """The grid that the demo runs first."""
    from lib_astolfo.demo.scores import DIGIT_SCORES

    return GridSettings(
        models={"a": settings.base, "b": settings.trained},
        axes={"ratio": list(settings.ratios), "cfg": list(settings.cfg), "uncond": list(settings.uncond)},
        prompts=prompts(0),
        pictures=settings.pictures,
        seed=settings.seed,
        steps=settings.steps,
        scores=[name for name in SCORES if DIGIT_SCORES[name].least <= settings.pictures],
        primary=PRIMARY,
        folder=settings.folder,
        check=settings.check,
    )


def check(settings: DemoSettings, workspace: Workspace) -> None:
    """Refuse what cannot run, before it is queued. Errors: BadInput."""
    from .outputs import checkpoint_target

    grid.check(study_settings(settings), workspace)
    if settings.output:
        checkpoint_target(workspace, settings.output)


def run(settings: DemoSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Grid, finer grid, report, winner baked. The result is the grid's, with ``baked`` and the time it took."""
    start = time.monotonic()
    check(settings, workspace)
    study = study_settings(settings)
    if settings.minutes > 0:
        study = with_finer(study, settings.minutes * 60, workspace, task)
    title = "The digits demo: which ratio, which CFG, which uncond"
    result, found = grid.carry_out(study, workspace, task, title=title)
    baked = None if result.stopped else bake(result, settings, workspace, task)
    return {**found, "baked": baked, "seconds": round(time.monotonic() - start, 1), "folder": str(result.folder)}


def with_finer(study: GridSettings, seconds: float, workspace: Workspace, task: Task) -> GridSettings:
    """The study with as many ratios added around its best ones as there is time for; draws the coarse grid."""
    from lib_astolfo.search.refine import finer

    folder = grid.study_folder(study.folder, workspace, task)
    coarse = grid.draw(grid.prepare(study, workspace), workspace, task, folder)
    if coarse.stopped:
        return study
    drawn = sum(cell.seconds for cell in coarse.cells)
    a_ratio = drawn / len(coarse.plan.axes["ratio"])
    count = int((seconds - drawn) / a_ratio) if a_ratio > 0 else 0
    added = finer(coarse, min(max(count, 0), MAX_FINER))
    ratios = sorted({*coarse.plan.axes["ratio"], *added})
    return replace(study, axes={**study.axes, "ratio": ratios})


def bake(result: StudyResult, settings: DemoSettings, workspace: Workspace, task: Task) -> dict[str, Any] | None:
    """Write the winner: the merged file with its recipe in the header, the yaml beside it. None without a winner."""
    from lib_astolfo.search import outcome

    winner = outcome.winner(result)
    if winner is None or winner["recipe"] is None:
        return None
    if settings.output:
        from .bake import BakeSettings
        from .bake import run as bake_named

        named = BakeSettings(
            recipe=winner["recipe"], sampling=winner["sampling"], uncond=winner["uncond"], output=settings.output
        )
        made = bake_named(named, workspace, task)
        return {name: made[name] for name in ("output", "name", "sidecar", "summary") if name in made}
    return _bake_here(result, winner, workspace, task)


def _bake_here(result: StudyResult, winner: dict[str, Any], workspace: Workspace, task: Task) -> dict[str, Any]:
    from lib_astolfo.checkpoints.metadata import build
    from lib_astolfo.diffusion.uncond import Uncond
    from lib_astolfo.merging.engine import merge
    from lib_astolfo.merging.recipe import Recipe

    from .merge import write_sidecar

    recipe, uncond = Recipe.from_dict(winner["recipe"]), Uncond.from_dict(winner["uncond"])
    target = result.folder / WINNER
    report = merge(recipe, workspace.resolve, target, metadata=build(uncond=uncond), overwrite=True)
    beside = write_sidecar(target, report.sampling, uncond, True)
    for path in (target, Path(beside)):
        grid.publish(path, result.folder, task.folder)
    return {"output": str(target), "name": WINNER, "sidecar": beside, "summary": report.summary()}


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    lines = [grid.show(result), ""]
    for kind, name in result["files"].items():
        lines.append(f"{kind:8} {Path(result['folder']) / name}")
    if result["baked"]:
        lines += [f"{'winner':8} {result['baked']['output']}", f"{'yaml':8} {result['baked']['sidecar']}"]
    return "\n".join([*lines, f"{result['seconds']:.0f} seconds in all"])
