"""The grids that people ask for again and again, by name: their axes, where none are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from .grid import GridSettings

LOWER = (0.4, 0.65, 1.0)  # of the CFG scale: a ratio that is best at one alone may only stand in for another
BETWEEN = ["zero", "average 0.3", "average 0.7", "null", "comma"]


def _surface(settings: GridSettings) -> dict[str, Any]:
    """Ratio x CFG x uncond: the optimum, and the best under zero and under null."""
    return {"ratio": "0-1 [6]", "cfg": [round(share * settings.cfg, 2) for share in LOWER], "uncond": BETWEEN}


def _anypred(settings: GridSettings) -> dict[str, Any]:
    """Ratio x prediction: a merge of an eps base and a v model as either, and as the mixture that it is."""
    read_as = ["eps", "v", "v ztsnr", "mixed ratio", "mixed ratio ztsnr"]
    return {"ratio": "0-1 [6]", "prediction": read_as, "cfg": [round(LOWER[0] * settings.cfg, 2), settings.cfg]}


def _epochs(settings: GridSettings) -> dict[str, Any]:
    """Ratio x epoch: every snapshot of ``training`` at several weights."""
    if not settings.training:
        raise BadInput("training", "nothing", "a training, or its job, for the preset epochs")
    return {"ratio": "0-1 [6]", "snapshot": "all", "cfg": [round(LOWER[0] * settings.cfg, 2), settings.cfg]}


PRESETS: dict[str, Callable[[GridSettings], dict[str, Any]]] = {
    "surface": _surface,
    "anypred": _anypred,
    "epochs": _epochs,
}


def filled(settings: GridSettings) -> GridSettings:
    """The settings with the axes of their preset; axes that are given count instead of its own. Errors: BadInput."""
    if not settings.preset:
        return settings
    if settings.preset not in PRESETS:
        raise BadInput("preset", repr(settings.preset), f"one of {', '.join(PRESETS)}")
    from lib_astolfo.search.axes import ALIASES

    plain = type(settings)()
    given = {} if settings.axes == plain.axes else settings.axes
    own = {ALIASES.get(name, name): values for name, values in given.items()}
    return replace(settings, preset="", axes={**PRESETS[settings.preset](settings), **own})
