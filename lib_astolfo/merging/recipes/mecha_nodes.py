"""What the lines of sd-mecha's recipes stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lib_astolfo.merging.recipe import ModelValue

from .spread import Spread

LORA = "a LoRA"


@dataclass(frozen=True)
class Weight:
    """Weights of a whole model."""

    model: ModelValue


@dataclass(frozen=True)
class Delta:
    """``model`` - ``base``."""

    model: ModelValue
    base: ModelValue


@dataclass(frozen=True)
class Part:
    """One part of a model's weights (``omitted``: all but this part)."""

    model: ModelValue
    name: str
    omitted: bool = False


@dataclass(frozen=True)
class Numbers:
    """Ratios by name, of a ``dict`` line."""

    values: Mapping[str, float]


@dataclass(frozen=True)
class Mask:
    """A factor for every element, of train_difference_mask and its like: the method, its models, its ratio."""

    method: str
    models: tuple[ModelValue, ...]
    alpha: Spread


@dataclass(frozen=True)
class Perpendicular:
    """The part of b - c that is perpendicular to a - c."""

    a: ModelValue
    b: ModelValue
    c: ModelValue


Result = Weight | Delta | Part | Numbers | Mask | Perpendicular
#: In words.
KINDS: dict[type, str] = {
    Weight: "weights",
    Delta: "a difference of weights",
    Part: "a part of a model",
    Numbers: "ratios",
    Mask: "a mask",
    Perpendicular: "a difference of weights",
}
