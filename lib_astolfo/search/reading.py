"""What makes the settings of a study good ones, before a file is looked at. Every BadInput names the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.score import Score, choose
from lib_astolfo.scoring.wanted import names
from lib_astolfo.search.axes import ALIASES, AXES, expand
from lib_astolfo.search.settings import StudySettings

MAX_AXES = 4  # that vary
MERGING = ("ratio", "blocks")


def read_axes(settings: StudySettings) -> dict[str, tuple[Any, ...]]:
    """The axes with their values read; those that rewrite weights come first, the others keep their order."""
    if not settings.axes:
        raise BadInput("axes", "none", f"at least one of {', '.join(AXES)}")
    given = {ALIASES.get(name, name): values for name, values in settings.axes.items()}
    if len(given) < len(settings.axes):
        raise BadInput("axes", ", ".join(settings.axes), "each axis once")
    axes = {name: expand(name, values) for name, values in given.items()}
    varying = [name for name, values in axes.items() if len(values) > 1]
    if len(varying) > MAX_AXES:
        raise BadInput("axes", f"{len(varying)} with several values", f"at most {MAX_AXES} of them in one grid")
    if "ratio" in axes:
        axes["ratio"] = tuple(sorted(axes["ratio"]))
    return dict(sorted(axes.items(), key=lambda item: -AXES[item[0]].cost))


def check_models(settings: StudySettings, axes: Mapping[str, Any]) -> None:
    """A base is there, and what is merged into it where something is."""
    if not settings.models.get("a") and "model_a" not in axes:
        raise BadInput("models.a", "nothing", "the name of the base checkpoint")
    trained = bool(settings.models.get("b")) or "model_b" in axes
    snapshot = bool(settings.snapshot) or "snapshot" in axes
    if trained and snapshot:
        raise BadInput("snapshot", "beside a model b", "one of them: the ratio is the weight of either")
    for name in MERGING:
        if (name in axes or (name == "blocks" and settings.blocks is not None)) and not trained and not snapshot:
            expected = f"the name of the trained checkpoint, or a snapshot, for the axis {name}"
            raise BadInput("models.b", "nothing", expected)
    if "lora_weight" in axes and not settings.lora and "lora" not in axes:
        raise BadInput("lora", "nothing", "the name of a LoRA, for the axis lora_weight")


def check_pictures(settings: StudySettings, axes: Mapping[str, Any]) -> None:
    if not settings.prompts and "prompt" not in axes:
        raise BadInput("prompts", "none", "at least one prompt")
    limits = {"pictures": (1, 10_000), "batch": (1, 1024), "thumbnail": (1, 4096), "margin": (0, 500)}
    for name, (least, most) in limits.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise BadInput(name, value, f"a whole number from {least} to {most}")
    sides = {name: ALIASES.get(getattr(settings, name), getattr(settings, name)) for name in ("rows", "columns")}
    for name, value in sides.items():
        if value and value not in axes:
            raise BadInput(name, repr(value), f"one of the axes: {', '.join(axes)}")
    if sides["rows"] and sides["rows"] == sides["columns"]:
        raise BadInput("columns", repr(sides["columns"]), "another axis than that of the rows")


def chosen(settings: StudySettings, scores: Mapping[str, Score]) -> dict[str, Score]:
    """The scores that were asked for; all that the number of pictures allows when none were named."""
    if not settings.scores:
        return {name: score for name, score in scores.items() if score.least <= settings.pictures}
    chosen = choose(names(settings.scores), scores)
    for score in chosen.values():
        if score.least > settings.pictures:
            raise BadInput("pictures", settings.pictures, f"at least {score.least} for the score {score.name}")
    return chosen


def primary(settings: StudySettings, scores: Mapping[str, Score]) -> Score | None:
    """The score that chooses. One that can saturate (an accuracy) is refused when no other one decides beside it.

    A detector of failures chooses only where it is named: a picture that has not failed is not yet a good one.
    """
    deciding = [score for score in scores.values() if score.decides]
    unlimited = [score for score in deciding if score.limit is None]
    if any(not score.alarm for score in deciding) and not unlimited:
        expected = "another score that has a better side beside it: it saturates, and then chooses by chance"
        raise BadInput("scores", ", ".join(score.name for score in deciding) + " alone", expected)
    if not settings.primary:
        return unlimited[0] if unlimited else None
    if settings.primary not in scores or not scores[settings.primary].decides:
        names = ", ".join(score.name for score in deciding) or "none of these has a better side"
        raise BadInput("primary", repr(settings.primary), f"one of {names}")
    return scores[settings.primary]
