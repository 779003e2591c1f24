"""The settings of a study made a plan: files looked at, scores and predictions that fit them, names checked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.search.settings import StudySettings

from .study_scores import check_prompts, known_scores

if TYPE_CHECKING:
    from lib_astolfo.merging.live import LiveWeights
    from lib_astolfo.search.order import Sizes
    from lib_astolfo.search.plan import Plan

    from .workspace import Workspace

FILES = ("model_a", "model_b", "model_c", "snapshot", "lora")  # axes whose values are files


def prepare(settings: StudySettings, workspace: Workspace) -> Plan:
    """Check everything that can be checked before the first picture. Errors: BadInput."""
    from lib_astolfo.search.marks import mark
    from lib_astolfo.search.plan import make_plan, models_key
    from lib_astolfo.search.reading import read_axes
    from lib_astolfo.search.reference import needed, reference_of

    settings = replace(settings, models={slot: name for slot, name in settings.models.items() if name})
    axes = read_axes(settings)
    paths = {name: _path(where, name, workspace) for where, name in _named(settings, axes)}
    bases = axes.get("model_a", (settings.models.get("a"),))
    known = known_scores(settings, bases, workspace)
    naturals = natural_samplings(settings, axes, workspace) if paths else {}
    sampling = next(iter(naturals.values()), None)
    if any(score.compares for score in known.values()):  # with the base by itself, read as it says
        alone = [{"a": name} for name in bases if name]
        naturals |= {
            models_key(models): natural_sampling(replace(settings, models=models), workspace) for models in alone
        }
    identity = {name: mark(path) for name, path in paths.items()}
    plan = make_plan(settings, known, sampling=sampling, identity=identity, naturals=naturals)
    _check_names(plan, workspace)
    check_prompts(plan)
    if needed(plan):
        reference_of(plan, plan.cells[0])
    return plan


def _named(settings: StudySettings, axes: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, str]]:
    """Every file that the settings name, with the key that does."""
    yield from ((f"models.{slot}", name) for slot, name in settings.models.items())
    yield from ((axis, name) for axis, name in (("snapshot", settings.snapshot), ("lora", settings.lora)) if name)
    yield from ((f"axes.{axis}", name) for axis in FILES for name in axes.get(axis, ()))


def _path(where: str, name: str, workspace: Workspace) -> Path:
    try:
        return workspace.resolve(name)
    except BadInput as error:
        raise BadInput(where, error.found, error.expected) from error


def natural_samplings(settings: StudySettings, axes: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    """How merges of the models are read by the rules of merging, by ``plan.models_key``."""
    from lib_astolfo.search.plan import models_key

    slots = [slot for slot in ("a", "b", "c") if f"model_{slot}" in axes]
    found = {}
    for names in itertools.product(*(axes[f"model_{slot}"] for slot in slots)):
        models = {**settings.models, **dict(zip(slots, names, strict=True))}
        if models:
            found[models_key(models)] = natural_sampling(replace(settings, models=models), workspace)
    return found


def natural_sampling(settings: StudySettings, workspace: Workspace) -> Any:
    """How a merge of these models is read by the rules of merging."""
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.merging.engine import open_files
    from lib_astolfo.merging.policy import choose_sampling
    from lib_astolfo.merging.recipe import Recipe

    if len(settings.models) < 2:
        with CheckpointFile.open(workspace.resolve(next(iter(settings.models.values())))) as file:
            return workspace.said(file).sampling
    recipe = Recipe(settings.method, dict(settings.models), ratio=1.0, options=dict(settings.options))
    with open_files(recipe, workspace.resolve) as files:
        return choose_sampling(recipe, files, workspace.said).sampling


def _check_names(plan: Plan, workspace: Workspace) -> None:
    """Samplers and schedules are those of the host that draws."""
    samplers = plan.axes.get("sampler", (plan.settings.sampler,))
    for sampler in samplers:
        workspace.host.check_names(sampler, "")
    for schedule in plan.axes.get("schedule", (plan.settings.schedule,)):
        workspace.host.check_names(samplers[0], schedule)


def check_unchanged(plan: Plan, workspace: Workspace) -> None:
    """Failed if a model's file is another than when the study began: its cells could not be compared."""
    from lib_astolfo.search.marks import mark

    for name in files_of(plan):
        try:
            now = mark(workspace.resolve(name))
        except (BadInput, OSError):
            now = "gone"
        if now != plan.identity.get(name, now):
            raise Failed(f"{name} was replaced or removed while the grid ran; the cells made before are kept")


def checked_live(plan: Plan, workspace: Workspace) -> Callable[[], LiveWeights]:
    """The live weights, for files that are still those of the study; see ``check_unchanged``."""

    def live() -> LiveWeights:
        check_unchanged(plan, workspace)
        return workspace.live()

    return live


def files_of(plan: Plan) -> list[str]:
    """The model and LoRA files that a study reads, each once."""
    settings = plan.settings
    fixed = [*settings.models.values(), settings.snapshot, settings.lora]
    varied = [name for axis in FILES for name in plan.axes.get(axis, ())]
    return [name for name in dict.fromkeys([*fixed, *varied]) if name]


def study_sizes(plan: Plan, workspace: Workspace) -> Sizes:
    """Bytes of the checkpoints that a plan reads, and of each block of its base."""
    from lib_astolfo.checkpoints.blocks import block_of
    from lib_astolfo.checkpoints.prediction import layout_of
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.search.order import Sizes

    files = {name: workspace.resolve(name).stat().st_size for name in files_of(plan)}
    blocks: dict[str, int] = {}
    base = plan.settings.models.get("a")
    if base and "blocks" in plan.axes:
        with CheckpointFile.open(workspace.resolve(base)) as file:
            layout = layout_of(file)
            for name, info in file.tensors.items():
                block = block_of(name, layout)
                blocks[block] = blocks.get(block, 0) + info.nbytes
    return Sizes(files, blocks)
