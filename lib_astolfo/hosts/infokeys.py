"""Astolfo's keys in the text under a picture: one place for their names, written and read here alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput

PREDICTION = "Astolfo prediction"
MIXED_WEIGHT = "Astolfo mixed weight"
SHIFT = "Astolfo shift"
ZTSNR = "Astolfo ZTSNR"
CFG_RESCALE = "Astolfo CFG rescale"
UNCOND = "Astolfo uncond"
UNCOND_WEIGHT = "Astolfo uncond weight"
UNCOND_TEXT = "Astolfo uncond text"
UNCOND_RANGE = "Astolfo uncond range"
ONLY_EMPTY = "Astolfo uncond only empty"
LIKE = "Astolfo like"
MERGE = "Astolfo merge"
KEYS = (
    PREDICTION,
    MIXED_WEIGHT,
    SHIFT,
    ZTSNR,
    CFG_RESCALE,
    UNCOND,
    UNCOND_WEIGHT,
    UNCOND_TEXT,
    UNCOND_RANGE,
    ONLY_EMPTY,
    LIKE,
    MERGE,
)

RANGE = re.compile(r"^([0-9.]+(?:e-[0-9]+)?)-([0-9.]+(?:e-[0-9]+)?)$")


def of_sampling(sampling: Sampling) -> dict[str, str]:
    """Its keys; what has its default is left out, the prediction never."""
    keys = {PREDICTION: sampling.prediction}
    if sampling.prediction == "mixed":
        keys[MIXED_WEIGHT] = repr(sampling.mixed_weight)
    if sampling.shift != 1.0:
        keys[SHIFT] = repr(sampling.shift)
    if sampling.zero_terminal_snr:
        keys[ZTSNR] = "True"
    return keys


def of_uncond(uncond: Uncond) -> dict[str, str]:
    """Its keys; none for the host's own uncond."""
    if uncond.mode == "host":
        return {}
    keys = {UNCOND: uncond.mode}
    if uncond.mode == "text":
        keys[UNCOND_TEXT] = uncond.text
    if uncond.mode == "average":
        keys[UNCOND_WEIGHT] = repr(uncond.weight)
    if (uncond.start, uncond.end) != (0.0, 1.0):
        keys[UNCOND_RANGE] = f"{uncond.start!r}-{uncond.end!r}"
    return keys


def of_rescale(cfg_rescale: float) -> dict[str, str]:
    """Its key; none for 0."""
    return {CFG_RESCALE: repr(cfg_rescale)} if cfg_rescale else {}


def number(key: str, value: str, kind: Callable[[str], Any]) -> Any:
    """A value as ``int`` or ``float``. Errors: BadInput naming the key."""
    try:
        return kind(value)
    except ValueError as error:
        raise BadInput(f"infotext {key}", repr(value), "a number") from error


def to_sampling(found: Mapping[str, str]) -> Sampling | None:
    """What the keys say, None without a prediction. Errors: BadInput."""
    if PREDICTION not in found:
        return None
    return Sampling(
        prediction=found[PREDICTION],
        zero_terminal_snr=found.get(ZTSNR) == "True",
        shift=number(SHIFT, found.get(SHIFT, "1"), float),
        mixed_weight=number(MIXED_WEIGHT, found.get(MIXED_WEIGHT, "0.5"), float),
    )


def to_range(found: Mapping[str, str]) -> tuple[float, float]:
    """Start and end of the uncond's range as shares of the schedule. Errors: BadInput."""
    said = found.get(UNCOND_RANGE, "0-1")
    match = RANGE.match(said)
    if match is None:
        raise BadInput(f"infotext {UNCOND_RANGE}", repr(said), "START-END")
    return number(UNCOND_RANGE, match[1], float), number(UNCOND_RANGE, match[2], float)


def to_uncond(found: Mapping[str, str]) -> Uncond:
    """What the keys say; without one the host's own. Errors: BadInput."""
    start, end = to_range(found)
    return Uncond(
        mode=found.get(UNCOND, "host"),
        weight=number(UNCOND_WEIGHT, found.get(UNCOND_WEIGHT, "1"), float),
        text=found.get(UNCOND_TEXT, ""),
        start=start,
        end=end,
    )
