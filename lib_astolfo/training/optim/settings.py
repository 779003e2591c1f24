"""The settings of an optimiser, what is refused, and what would have no effect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.rules import RULES

PRECISIONS = ("auto", "master", "stochastic")
#: What a weight may be.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
PLAIN = (
    "rounding to the nearest loses updates that are smaller than half the distance between two neighbouring numbers: "
    "at a learning rate of 1.5e-6 bfloat16 weights make 0.9 % of the progress of float32"
)


@dataclass(frozen=True)
class Settings:
    """How weights are updated.

    ``optimiser``: a name in ``rules.RULES``. ``precision`` is for 16-bit weights: ``master`` keeps a float32 copy of
    each; ``stochastic`` needs none and is for bfloat16; ``auto`` is stochastic for bfloat16 and master for float16.
    float32 weights are updated as they are. ``betas``, ``eps``: None for the optimiser's own. ``weight_decay``: share
    of a weight lost per step and unit of learning rate, decoupled from the gradient.
    ``fused``: each tensor is updated as soon as its gradient is there, and the gradient is freed.
    ``accumulate``: backward passes per step. ``clip``: largest norm of the gradient, 0 for none; of all tensors
    together, or of each one by itself where ``fused`` (all are not known when the first is updated).
    ``scale_parameter``: Adafactor's steps relative to each tensor's size. ``seed``: of stochastic rounding.
    """

    optimiser: str = "adamw"
    precision: str = "auto"
    betas: tuple[float, float] | None = None
    eps: float | None = None
    weight_decay: float = 0.01
    fused: bool = False
    accumulate: int = 1
    clip: float = 1.0
    scale_parameter: bool = False
    seed: int = 0


def check(settings: Settings, dtypes: Mapping[str, torch.dtype]) -> None:
    """Raise BadInput for what cannot be done. ``dtypes``: of every weight, by name."""
    if settings.optimiser not in RULES:
        raise BadInput("optimiser", repr(settings.optimiser), f"one of {', '.join(RULES)}")
    if settings.precision in ("plain", "bf16", "nearest"):
        raise BadInput("precision", repr(settings.precision), f"auto, master or stochastic; {PLAIN}")
    if settings.precision not in PRECISIONS:
        raise BadInput("precision", repr(settings.precision), f"one of {', '.join(PRECISIONS)}")
    for beta in settings.betas or ():
        _number("betas", beta, 0 <= beta < 1, "two numbers from 0 to below 1")
    _number("eps", settings.eps or 0.0, (settings.eps or 0.0) >= 0, "a number of 0 or more")
    _number("weight_decay", settings.weight_decay, settings.weight_decay >= 0, "a number of 0 or more")
    _number("clip", settings.clip, settings.clip >= 0, "a number of 0 or more; 0 for no clipping")
    _number("accumulate", settings.accumulate, settings.accumulate >= 1, "a whole number of 1 or more")
    if not dtypes:
        raise BadInput("what is trained", "no tensor", "at least one")
    for name, dtype in dtypes.items():
        precision_of(settings, dtype, name)


def _number(where: str, value: float, good: bool, expected: str) -> None:
    if not (good and math.isfinite(value)):
        raise BadInput(where, repr(value), expected)


def precision_of(settings: Settings, dtype: torch.dtype, where: str) -> str:
    """``direct``, ``master`` or ``stochastic`` for a weight of that dtype. Raises BadInput where there is none."""
    if dtype not in DTYPES:
        raise BadInput(where, dtype, "float32, bfloat16 or float16; quantised weights cannot be trained")
    if dtype == torch.float32:
        return "direct"
    if settings.precision == "auto":
        return "stochastic" if dtype == torch.bfloat16 else "master"
    if settings.precision == "stochastic" and dtype == torch.float16:
        raise BadInput("precision", "stochastic with float16 weights", "master, or bfloat16 weights")
    return settings.precision


def notes(settings: Settings, dtypes: Mapping[str, torch.dtype]) -> tuple[str, ...]:
    """What people should know before the start: settings without effect, and what ``fused`` changes."""
    rule, found = RULES[settings.optimiser], []
    half = any(dtype != torch.float32 for dtype in dtypes.values())
    if settings.precision != "auto" and not half:
        found.append(f"precision {settings.precision} has no effect: all weights are float32")
    given = {name for name in ("betas", "eps") if getattr(settings, name) is not None}
    if settings.scale_parameter:
        given.add("scale_parameter")
    found += [f"{name} has no effect with {settings.optimiser}" for name in sorted(given - rule.options)]
    if settings.seed and not any(precision_of(settings, d, n) == "stochastic" for n, d in dtypes.items()):
        found.append("seed has no effect on the optimiser: nothing is rounded stochastically")
    if settings.fused and settings.clip:
        found.append(f"fused: clip {settings.clip:g} holds for each tensor by itself, not for all together")
    if settings.fused:
        found.append("fused: a tensor whose gradient is not finite is left out, not the whole step")
    if settings.fused and settings.accumulate > 1:
        found.append("fused with accumulation: the gradients of all tensors are kept until the step's last pass")
    return tuple(found)
