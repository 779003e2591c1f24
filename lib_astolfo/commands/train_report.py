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
    lines = [line for each in phases.values() for line in each.lines()]
    lines.append(f"{steps} steps of {run.total} pictures; {held_out} pictures are kept from training for validation")
    return {**found, "summary": "\n".join([*lines, *(f" ! {note}" for note in notes)])}


def counter() -> Callable[[str], int] | None:
    """Counts a caption's tokens of CLIP; None where its vocabulary is not installed."""
    from lib_astolfo.hosts.standalone.tokenizer import clip_tokenizer

    with suppress(AstolfoError):
        tokenizer = clip_tokenizer()
        return lambda text: len(tokenizer.encode(text))
    return None
