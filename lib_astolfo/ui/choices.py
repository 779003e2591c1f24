"""What the fields of several panels offer: checkpoints, samplers, schedules, and words about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from . import compat, html
from .form import Form

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.hosts.base import CheckpointEntry

AUTO = "auto"
"""In a list of choices: leave it to the model or the sampler."""
DIGITS = ("digits-eps.safetensors", "digits-v.safetensors")
AB = (("a", "A, base", "Ratio 0; type to search the list"), ("b", "B, trained", "Ratio 1"))
SMALL = 100_000_000
"""Bytes below which a checkpoint is drawn with at once."""


def usable(workspace: Workspace) -> list[CheckpointEntry]:
    """The checkpoints that can be used, by name."""
    return sorted((entry for entry in workspace.host.checkpoints() if entry.family), key=lambda entry: entry.name)


def names(workspace: Workspace) -> list[str]:
    return [entry.name for entry in usable(workspace)]


def loras(workspace: Workspace) -> list[str]:
    """The LoRA files, by the names that ``Workspace.resolve`` knows them under."""
    found = set()
    for folder in workspace.host.folders.loras:
        found |= {path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")}
    return sorted(found, key=str.lower)


def snapshots(workspace: Workspace) -> list[str]:
    """The snapshots of trainings, the newest training first."""
    from lib_astolfo.commands import train_runs

    return [run.name_of(path) for run in train_runs.listing(workspace) for path in run.snapshots]


def trainings(workspace: Workspace) -> list[str]:
    """The names of the trainings that have a snapshot, the newest first."""
    from lib_astolfo.commands import train_runs

    return [run.name for run in train_runs.listing(workspace) if run.snapshots]


def is_demo(workspace: Workspace) -> bool:
    """Whether the digits models are there and nothing larger, so that pictures may be drawn unasked."""
    found = usable(workspace)
    return set(DIGITS) <= {entry.name for entry in found} and all(entry.size < SMALL for entry in found)


def pair(workspace: Workspace) -> tuple[str | None, str | None]:
    """The checkpoints that stand as A and B when the page is opened."""
    if is_demo(workspace):
        return DIGITS
    found = [name for name in names(workspace) if name not in DIGITS] or list(DIGITS)
    return (found[0], found[min(1, len(found) - 1)]) if names(workspace) else (None, None)


def describe(workspace: Workspace, name: str | None) -> str:
    """A line about a checkpoint: family, prediction, size, and what is noteworthy."""
    for entry in workspace.host.checkpoints():
        if entry.name == name:
            words = [entry.family or "cannot be used", entry.sampling.describe(), html.size(entry.size), entry.note]
            return html.note(" · ".join(word for word in words if word), "about")
    return html.note(f"{name} is not in the model folders any more", "about") if name else ""


def samplers() -> list[str]:
    from lib_astolfo.diffusion.samplers import SAMPLERS

    return list(SAMPLERS)


def schedules() -> list[str]:
    from lib_astolfo.diffusion.schedule import SCHEDULES

    return [AUTO, *SCHEDULES]


def scores() -> list[str]:
    """The scores that need no options."""
    from lib_astolfo.commands import tables

    return [one["name"] for one in tables.scores() if not _needs(one)]


def score_makers() -> list[str]:
    """A line about each score that needs a folder or a file."""
    from lib_astolfo.commands import tables

    return [f"{one['name']}: {one['help']}" for one in tables.scores() if _needs(one)]


def _needs(score: dict[str, Any]) -> bool:
    return any(option["needed"] for option in score["options"].values())


def not_auto(value: Any) -> Any:
    """The settings' word for ``auto``: nothing."""
    return "" if value == AUTO else value


def model_fields(form: Form, workspace: Workspace, slots: Sequence[tuple[str, str, str]]) -> list[Any]:
    """A searchable list of checkpoints per (slot, label, help), a line about each choice, and one refresh button.

    Returns the lists. The slots start with A and B of ``pair`` in turn.
    """
    found, start = names(workspace), pair(workspace)
    lists = []
    for index, (slot, label, help) in enumerate(slots):
        value = start[index % 2]
        with gr.Column(visible=form.starts_shown(slot), elem_classes=["astolfo-model"]) as form.beside[slot]:
            listed = form.add(slot, gr.Dropdown, label, help, choices=found, value=value)
            about = gr.HTML(describe(workspace, value))
        compat.on(listed.change, lambda name: describe(workspace, name), [listed], [about])
        lists.append(listed)
    button = gr.Button("Refresh lists", size="sm", elem_id=form.element("refresh"))

    def refresh() -> Any:
        found = names(workspace)
        fresh = [compat.change(choices=found) for _ in lists]
        return fresh if len(fresh) > 1 else fresh[0]

    compat.on(button.click, refresh, [], lists)
    return lists


def sampler_fields(form: Form, steps: int) -> None:
    """Sampler, schedule and steps."""
    wide = {"min_width": 130}
    with gr.Row():
        form.add("sampler", gr.Dropdown, "Sampler", "Of k-diffusion", choices=samplers(), value="Euler", **wide)
        form.add("schedule", gr.Dropdown, "Schedule", "auto: sampler's own", choices=schedules(), value=AUTO, **wide)
    form.slider("steps", "Steps", "More are slower and finer", (1, 150, 1), value=steps)
