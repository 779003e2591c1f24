"""Axes for the WebUI's xyz plot. They stand where the plot's own do, and set what the panel would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lib_astolfo.diffusion.sampling import PREDICTIONS
from lib_astolfo.diffusion.uncond import MODES
from lib_astolfo.errors import BadInput

from .hook import AXES as JOB_AXES
from .hook import MERGE_AXES, axes
from .override import LIKE, Override

PREFIX = "[Astolfo] "
MERGE_RATIO, MERGE_MODEL, MERGE_BLOCKS = "Merge ratio", "Merge model B", "Block ratios"
TRAINING_RATIO, EPOCH = "Training ratio", "Epoch"
AUTO = "as the model says"
HOST = "host"


@dataclass(frozen=True)
class Axis:
    """``name``: the value of ``Override`` that it sets. ``kind``: how the plot reads a value from its text."""

    label: str
    name: str
    kind: Callable[[str], Any]
    choices: tuple[str, ...] = ()


AXES = (
    Axis("Uncond mode", "uncond", str, MODES),
    Axis("Uncond weight", "uncond_weight", float),
    Axis("Uncond text", "uncond_text", str),
    Axis("Uncond start", "uncond_start", float),
    Axis("Uncond end", "uncond_end", float),
    Axis("Prediction", "prediction", str, (AUTO, *PREDICTIONS)),
    Axis("Mixed weight", "mixed_weight", float),
    Axis("Shift", "shift", float),
    Axis("ZTSNR", "ztsnr", str, ("False", "True")),
    Axis("CFG rescale", "cfg_rescale", float),
    Axis("Like", "like", str, (HOST, *LIKE[1:])),
)
IMPLIED = {
    "uncond_weight": {"uncond": "average"},
    "uncond_text": {"uncond": "text"},
    "mixed_weight": {"prediction": "mixed"},
}
"""What a value alone would not do anything without, unless another axis says otherwise."""


@dataclass(frozen=True)
class MergeAxes:
    """What the axes over a merge ask: the names of all checkpoints, whether values are good (else BadInput), and the
    names of all snapshots of trainings."""

    models: Callable[[], Sequence[str]]
    check: Callable[[str, Sequence[Any]], None]
    snapshots: Callable[[], Sequence[str]] = tuple


def find_plot(scripts_data: Iterable[Any]) -> ModuleType | None:
    """The plot's module among the WebUI's scripts, which are loaded by path and stand nowhere in ``sys.modules``."""
    for entry in scripts_data:
        name = getattr(entry.script_class, "__module__", "")
        if name.removeprefix("scripts.").removesuffix(".py") == "xyz_grid" and hasattr(entry.module, "axis_options"):
            return entry.module
    return None


def register(plot: Any, merges: MergeAxes) -> None:
    """Put our axes into the plot's list, once."""
    known = {option.label for option in plot.axis_options}
    ours = [_option(plot, axis) for axis in AXES] + _merge_options(plot, merges)
    plot.axis_options += [option for option in ours if option.label not in known]


def _merge_options(plot: Any, merges: MergeAxes) -> list[Any]:
    """A merge costs more than a picture's other settings and less than a checkpoint: the plot changes it less often."""

    def option(label: str, kind: Callable[[str], Any], cost: float, **further: Any) -> Any:
        def apply(p: Any, value: Any, values: Any) -> None:
            setattr(p, MERGE_AXES, {**getattr(p, MERGE_AXES, {}), label: value})

        def confirm(p: Any, values: Sequence[Any]) -> None:
            try:
                merges.check(label, values)
            except BadInput as error:
                raise RuntimeError(f"{PREFIX}{error}") from error

        return plot.AxisOption(PREFIX + label, kind, apply, confirm=confirm, cost=cost, **further)

    return [
        option(MERGE_RATIO, float, 0.5),
        option(MERGE_MODEL, str, 0.6, choices=lambda: list(merges.models())),
        option(MERGE_BLOCKS, str, 0.55),
        option(TRAINING_RATIO, float, 0.5),
        option(EPOCH, str, 0.58, choices=lambda: list(merges.snapshots())),
    ]


def _option(plot: ModuleType, axis: Axis) -> Any:
    further = {"choices": lambda: list(axis.choices)} if axis.choices else {}
    return plot.AxisOption(PREFIX + axis.label, axis.kind, _apply(axis), confirm=_confirm(axis), **further)


def _apply(axis: Axis) -> Callable[[Any, Any, Any], None]:
    def apply(p: Any, value: Any, values: Any) -> None:
        set_already = getattr(p, JOB_AXES, {})
        implied = {name: word for name, word in IMPLIED.get(axis.name, {}).items() if name not in set_already}
        axes(p, {**implied, axis.name: value})

    return apply


def _confirm(axis: Axis) -> Callable[[Any, Sequence[Any]], None]:
    """Refuse a bad value before the first picture is drawn."""

    def confirm(p: Any, values: Sequence[Any]) -> None:
        for value in values:
            try:
                Override.from_dict({axis.name: value, **({"uncond_text": "x"} if value == "text" else {})})
            except BadInput as error:
                raise RuntimeError(f"{PREFIX}{axis.label}: {error}") from error

    return confirm
