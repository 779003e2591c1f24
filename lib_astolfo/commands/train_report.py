"""``train report=true``: what a training will see and need, told before it starts; nothing is trained."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import AstolfoError

from . import train_many, train_thumbs
from .train_data import within

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task
    from lib_astolfo.training.run.settings import RunSettings

    from .train_settings import TrainSettings
    from .workspace import Workspace

LIMIT = 225  # tokens, three chunks, as trainings of SDXL take them


def report(settings: TrainSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """The data, the options that do nothing, the steps. Errors: BadInput."""
    from lib_astolfo.training.data.report import report as look
    from lib_astolfo.training.run.dataset import Dataset
    from lib_astolfo.training.run.review import review
    from lib_astolfo.training.run.timeline import Timeline

    run = settings.run()
    model = workspace.host.model
    mine = model is not None and model.entry.path == workspace.resolve(settings.model)
    notes = list(review(run, model if mine else None, train_many.processes()))

    def reading(done: int, total: int, name: str) -> None:
        task.progress(done, total, f"reading {name}")

    data = Dataset.read(run, reading, within(settings, workspace))
    count = counter()
    phases = {each.settings: look(each.settings, each.scanned, count, LIMIT) for each in data.phases}
    steps = Timeline(run, data.orders).total
    held_out = len(data.phases[0].held_out)
    known = {note for each in phases.values() for note in each.notes}
    notes = [note for note in notes if note.rstrip(".") not in known]
    found = {
        "model": settings.model,
        "steps": steps,
        "held_out": held_out,
        "data": [each.to_dict() for each in phases.values()],
        "notes": notes,
    }
    first = data.phases[0]
    found["thumbs"] = train_thumbs.write(task.folder, first.settings, first.scanned, task.progress)
    found["memory"] = memory = _memory(run, workspace, settings.model)
    lines = [line for each in phases.values() for line in each.lines()]
    lines += _memory_lines(memory)
    lines.append(f"{steps} steps of {run.total} pictures; {held_out} pictures are kept from training for validation")
    return {**found, "summary": "\n".join([*lines, *(f" ! {note}" for note in notes)])}


def _memory(run: RunSettings, workspace: Workspace, name: str) -> dict[str, Any]:
    """What the training needs, for the model that is loaded or will be. Errors: BadInput."""
    import torch

    from lib_astolfo.checkpoints.layout import detect
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.training.memory import free
    from lib_astolfo.training.memory import run as memory
    from lib_astolfo.training.optim import selection

    model = workspace.host.model
    path = workspace.resolve(name)
    if model is not None and model.entry.path == path:
        now, layout = free.standing(model), model.layout
    else:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with CheckpointFile.open(path) as file:
            now = free.standing_of_file(file, device)
        layout = detect(now.shapes, str(path))
    groups = selection.choose(run.select, tuple(now.shapes), layout)
    chosen = [each for held in groups.values() for each in held]
    return memory.table(run, now, chosen, train_many.processes())


def _memory_lines(found: dict[str, Any]) -> list[str]:
    unused, needed = found["free"], found["needed"] / 2**30
    told = "" if unused is None else f", {unused / 2**30:.1f} GiB are free"
    parts = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in found["parts"].items() if size > 2**20)
    lines = [f"memory: {needed:.1f} GiB needed{told} ({parts} GiB)"]
    instead = found.get("instead")
    if instead:
        lines.append(f" ! it does not fit; {instead['needed'] / 2**30:.1f} GiB with {', '.join(instead['settings'])}")
    elif not found["fits"]:
        lines.append(" ! it does not fit, and no choice that is known does")
    return lines


def counter() -> Callable[[str], int] | None:
    """Counts a caption's tokens of CLIP; None where its vocabulary is not installed."""
    from lib_astolfo.hosts.standalone.tokenizer import clip_tokenizer

    with suppress(AstolfoError):
        tokenizer = clip_tokenizer()
        return lambda text: len(tokenizer.encode(text))
    return None
