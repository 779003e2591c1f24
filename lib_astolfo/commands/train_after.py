"""After a training: its snapshots as recipes, as a grid, as a baked file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import train_runs

if TYPE_CHECKING:
    from lib_astolfo.jobs import Job

    from .train_runs import TrainingFolder
    from .train_settings import TrainSettings
    from .workspace import Workspace

LAST = "last"


def settings_of(run: TrainingFolder) -> TrainSettings:
    """As they were when the run began. Errors: BadInput."""
    from .train_settings import TrainSettings

    return TrainSettings.from_plain({**run.settings, "name": run.name})


def snapshot(run: TrainingFolder, word: str = "") -> Path:
    """One of the run's snapshots: the last, that of a step, or by its file's name. Errors: BadInput."""
    found = run.snapshots
    if not found:
        raise BadInput(f"training {run.name}", "no snapshot", "a run that was stopped (keep), or came to an end")
    if word in ("", LAST):
        return found[-1]
    name = word.rpartition("/")[2].removesuffix(".safetensors")
    for path in found:
        if name in (path.stem, str(train_runs.step_of(path))):
            return path
    known = ", ".join(str(train_runs.step_of(path)) for path in found[-8:])
    raise BadInput("snapshot", repr(word), f"last, or a step of {run.name}: {known}")


def recipe(workspace: Workspace, word: str, ratio: float, which: str = "") -> dict[str, Any]:
    """The base with what a run has learnt up to a snapshot, at a ratio. Errors: BadInput."""
    run = train_runs.find(workspace, word)
    return recipe_of(settings_of(run), run.name_of(snapshot(run, which)), ratio)


def is_snapshot(name: str) -> bool:
    """Whether this is the name of a snapshot as ``TrainingFolder.name_of`` makes them."""
    return name.replace("\\", "/").split("/")[1:2] == [train_runs.SNAPSHOTS]


def recipe_on(workspace: Workspace, base: str, name: str, ratio: float) -> dict[str, Any]:
    """Another base with what a snapshot of that name has learnt. Errors: BadInput."""
    run = train_runs.find(workspace, name.replace("\\", "/").split("/")[0], "snapshot")
    return recipe_of(replace(settings_of(run), model=base), name, ratio)


def recipe_of(settings: TrainSettings, name: str, ratio: float) -> dict[str, Any]:
    """``name``: of the snapshot, as ``Workspace.resolve`` finds it."""
    found: dict[str, Any] = {
        "method": "lora",
        "models": {"a": settings.model},
        "loras": [{"file": name, "weight": ratio}],
        "dtype": "keep",
    }
    if ratio:  # at 0 it is the base, and read as that
        found["options"] = {"prediction": settings.objective.sampling.to_dict()}
    return found


def uncond_of(settings: TrainSettings) -> str:
    """What stands for no prompt by the training; "" where both were trained."""
    return settings.uncond.target if settings.uncond.target in ("zero", "null") else ""


def bake(workspace: Workspace, word: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The body of POST /bake for a snapshot: ``ratio``, ``snapshot``, and bake's own keys. Errors: BadInput."""
    from .train_active import read_ratio

    run = train_runs.find(workspace, word)
    settings = settings_of(run)
    ratio = read_ratio(values.get("ratio", 1.0))
    path = snapshot(run, str(values.get("snapshot") or ""))
    own = {name: value for name, value in values.items() if name not in ("ratio", "snapshot")}
    output = f"{run.name}-{train_runs.step_of(path)}-{ratio:g}"
    found = {"output": output, "uncond": uncond_of(settings), "sidecar": True}
    return {**found, **own, "recipe": recipe_of(settings, run.name_of(path), ratio)}


def grid(workspace: Workspace, word: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The body of POST /grid for the snapshots of a run. Errors: BadInput."""
    raise NotImplementedError


def submit(workspace: Workspace, act: str, word: str, values: Mapping[str, Any]) -> Job:
    """Queue what is done with a run: ``resume``, ``grid`` or ``bake``. Errors: BadInput, Busy."""
    run = train_runs.find(workspace, word)
    if act == "resume":
        return workspace.submit("train", {**values, "resume": run.name})
    body = grid(workspace, run.name, values) if act == "grid" else bake(workspace, run.name, values)
    return workspace.submit(act, body)
