"""``probe``: what checkpoints predict and which uncond they were trained with, from how they denoise real pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import AstolfoError, BadInput, Stopped

from . import probe_pictures, readings

if TYPE_CHECKING:
    from lib_astolfo.hosts.base import LoadedModel
    from lib_astolfo.jobs import Task

    from .probe_pictures import Chosen
    from .workspace import Workspace

STEPS = 1000  # of a job's progress, for each model
PATIENCE = 3600.0  # seconds that the job waits for the model


@dataclass(frozen=True)
class ProbeSettings:
    """Which checkpoints, on which pictures, at which noise levels."""

    models: list[str] = field(default_factory=list)  # names of checkpoints; empty: what is loaded, live merge and all
    pictures: str = ""  # a folder of pictures with .txt captions beside them; empty: the held-out digits, for digits
    count: int = 64  # pictures used, 2 to 2000; the error falls with the root
    seed: int = 0  # of the noise, and of which pictures are taken
    sigmas: list[float] = field(default_factory=lambda: [0.3, 1.0, 3.0, 10.0])  # noise levels of the prediction
    uncond: bool = True  # measure zero against null and comma too
    uncond_sigmas: list[float] = field(default_factory=lambda: [0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 14.6])  # its levels
    sampling: Any = None  # how the unconds are read: `v ztsnr`, `rf`, or a mapping; empty: as found
    width: int = 0  # of the pictures in pixels; 0: the model's native size
    height: int = 0  # the same

    def __post_init__(self) -> None:
        if not 2 <= self.count <= 2000:
            raise BadInput("count", self.count, "a number of pictures from 2 to 2000")
        if not 0 <= self.seed < 2**32:
            raise BadInput("seed", self.seed, "a whole number from 0 to 4294967295")
        for name in ("sigmas", "uncond_sigmas"):
            values = getattr(self, name)
            if not values or not all(0.0 < value <= 5000.0 for value in values) or len(set(values)) < len(values):
                raise BadInput(name, values, "different noise levels above 0, as 0.3, 1, 3, 10")
        for name in ("width", "height"):
            if not 0 <= getattr(self, name) <= 4096:
                raise BadInput(name, getattr(self, name), "pixels from 0 (native) to 4096")


def check(settings: ProbeSettings, workspace: Workspace) -> ProbeSettings:
    """Refuse what cannot be probed before it is queued; each model once. Errors: BadInput."""
    names = list(dict.fromkeys(name for name in settings.models if name))
    paths = []
    for index, name in enumerate(names):
        try:
            paths.append(workspace.resolve(name))
        except BadInput as error:
            raise BadInput(f"models[{index}]", error.found, error.expected) from error
    if not names:
        loaded = workspace.host.model
        if loaded is None:
            raise BadInput("models", "none, and none is loaded", "the names of checkpoints")
        paths = [loaded.entry.path]
    readings.read_sampling(settings.sampling)
    if probe_pictures.folder_of(settings.pictures, workspace) is None:
        for path in paths:
            if not _is_digits(path):
                found = f"nothing, and {path.name} is no model of the digits laboratory"
                raise BadInput("pictures", found, "a folder of pictures that it should know, with .txt captions")
    return replace(settings, models=names)


def _is_digits(path: Any) -> bool:
    from .study_scores import is_digits

    try:
        return is_digits(path)
    except BadInput:
        return False


def run(settings: ProbeSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Probe one model after another; files: a picture of all of them, a page, the table as markdown and JSON.

    The model that was loaded before, and what was merged into it, is there again afterwards. Stopped after the first
    model it returns what there is; before that Stopped goes through.
    """
    from . import probe_report

    started = time.monotonic()
    settings = check(settings, workspace)
    chosen = probe_pictures.choose(
        probe_pictures.folder_of(settings.pictures, workspace), settings.count, settings.seed
    )
    found: list[dict[str, Any]] = []
    names = settings.models or [""]
    stopped = False
    with as_before(workspace) as loaded:
        try:
            for index, name in enumerate(names):
                task.progress(index * STEPS, len(names) * STEPS, name)  # the place to pause: the model is free
                found.append(_probe_one(index, settings, workspace, _Work(task, chosen, loaded)))
                task.event(f"{found[-1]['name']}: {found[-1]['verdict']}")
        except Stopped:
            if not found:
                raise
            stopped = True
    result = {
        "models": found,
        "sigmas": list(settings.sigmas),
        "pictures": {"folder": settings.pictures, "count": len(chosen.shown), "notes": list(chosen.notes)},
        "stopped": stopped,
        "seconds": round(time.monotonic() - started, 1),
    }
    return {**result, **probe_report.write(result, task.folder)}


@dataclass(frozen=True)
class _Work:
    """What goes through all models; ``loaded`` takes those that were loaded for it."""

    task: Task
    chosen: Chosen
    loaded: list[LoadedModel]


def _probe_one(index: int, settings: ProbeSettings, workspace: Workspace, work: _Work) -> dict[str, Any]:
    """One model under the lock; without names what is loaded, as it is."""
    import torch

    from . import probe_model

    name = settings.models[index] if settings.models else ""

    def report(share: float, text: str) -> None:
        done = int((index + min(share, 1.0)) * STEPS)
        work.task.report(done, max(len(settings.models), 1) * STEPS, text)

    with workspace.locked(PATIENCE), torch.no_grad():
        report(0.0, f"loading {name}" if name else "the loaded model")
        model = workspace.load(name) if name else _loaded(workspace)
        work.loaded.append(model)
        merged = workspace.recipe()
        own = workspace.live().temporarily(None) if name and merged is not None else nullcontext()
        with own:
            made = probe_model.probe(model, settings, work.chosen, workspace=workspace, report=report)
    live_now = merged.describe() if merged is not None and not name else ""
    return {"name": model.entry.name, "merge": live_now, **made}


def _loaded(workspace: Workspace) -> LoadedModel:
    if workspace.host.model is None:
        raise BadInput("models", "none, and none is loaded any more", "the names of checkpoints")
    return workspace.host.model


@contextmanager
def as_before(workspace: Workspace) -> Iterator[list[LoadedModel]]:
    """Afterwards load the model that is loaded now, with its live merge, in place of those put into the list.

    A model that somebody else loaded meanwhile stays.
    """
    with workspace.locked(PATIENCE):
        before, recipe = workspace.host.model, workspace.recipe()
    ours: list[LoadedModel] = []
    try:
        yield ours
    finally:
        with workspace.locked(PATIENCE):
            now = workspace.host.model
            if before is not None and now is not before and any(now is model for model in ours):
                with suppress(AstolfoError):  # its file is gone: what is loaded stays
                    workspace.load(before.entry.name)
                    if recipe is not None:
                        workspace.live().apply(recipe)


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    from .probe_report import words

    lines = []
    for model in result["models"]:
        lines += [f"{model['name']} {model['merge']}".rstrip(), *(f"  {line}" for line in words(model)), ""]
    lines += [f"note: {note}" for note in result["pictures"]["notes"]]
    if len(result["models"]) > 1:
        lines += [result["table"], ""]
    return "\n".join([*lines, *(f"{kind:8} {path}" for kind, path in result["paths"].items())])
