"""What there is to choose from, as plain values: checkpoints, methods, scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .workspace import Workspace


def checkpoints(workspace: Workspace) -> list[dict[str, Any]]:
    """All checkpoints of the models folders; those that cannot be used have family "" and a note that says why.

    ``remembered``: what was decided for the file's hash, where that is known without reading the file.
    """
    from . import memory

    known, listed = workspace.memory.all(), workspace.host.checkpoints()
    hashes = {entry.path: memory.hash_of(workspace, entry) for entry in listed}
    remembered = {path: known[short] for path, short in hashes.items() if short in known}
    return [
        {
            "name": entry.name,
            "family": entry.family,
            "size": entry.size,
            "short_hash": hashes[entry.path],
            "sampling": entry.sampling.to_dict() if entry.family else None,
            "uncond": entry.uncond.to_dict() if entry.uncond is not None else None,
            "remembered": remembered[entry.path].to_dict() if entry.path in remembered else None,
            "note": entry.note,
        }
        for entry in listed
    ]


def methods() -> list[dict[str, Any]]:
    """All merge methods; ``slots`` are the models a recipe must name.

    ``ratio``: whether it has one of its own; otherwise a ratio is the share of its result, except for those of one
    model. ``weights``: whether the ratio may be a weight per model. ``unit``: what of a tensor it needs at a time.
    """
    from lib_astolfo.merging.methods import METHODS
    from lib_astolfo.merging.recipe_check import WEIGHTED

    return [
        {
            "name": method.name,
            "slots": [*method.inputs, "base"] if method.space == "delta" else list(method.inputs),
            "more_models": method.many,
            "ratio": "alpha" in method.options,
            "weights": "alpha" not in method.options and (method.space == "delta" or method.name in WEIGHTED),
            "options": {name: value for name, value in method.options.items() if name != "alpha"},
            "choices": {name: list(words) for name, words in method.choices.items()},
            "unit": method.unit,
            "space": method.space,
            "formula": method.formula,
            "reference": method.reference,
        }
        for method in METHODS.values()
    ]


def scores() -> list[dict[str, Any]]:
    """All scores; ``limit`` is the best value that can be reached, near which a score stops telling cells apart.

    ``detector``: of failures; it warns and does not choose. ``options``: what must or may be given with the name.
    """
    from lib_astolfo.demo.scores import DIGIT_SCORES
    from lib_astolfo.scoring.registry import MAKERS, SCORES

    needing_nothing = [
        {
            "name": score.name,
            "better": score.better,
            "unit": score.unit,
            "help": score.help,
            "limit": score.limit,
            "least_pictures": score.least,
            "digits_only": score.name in DIGIT_SCORES,
            "detector": score.alarm,
            "options": _options(score.name),
        }
        for score in {**SCORES, **DIGIT_SCORES}.values()
    ]
    known = {entry["name"] for entry in needing_nothing}  # where both are, options make another score of the name
    return needing_nothing + [
        {
            "name": maker.name,
            "better": maker.better,
            "unit": "",
            "help": maker.help,
            "limit": maker.limit,
            "least_pictures": maker.least,
            "digits_only": False,
            "detector": False,
            "options": _options(maker.name),
        }
        for maker in MAKERS.values()
        if maker.name not in known
    ]


def _options(name: str) -> dict[str, Any]:
    """What may be given with a score's name; the first one without its own name."""
    from lib_astolfo.scoring.registry import MAKERS

    options = MAKERS[name].options if name in MAKERS else ()
    return {option.name: {"help": option.help, "needed": option.needed} for option in options}
