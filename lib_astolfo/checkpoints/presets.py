"""Named block weights: curves that are computed here, and lists in ``configs/block_presets.yaml`` for people to edit.

Each has 26 values: BASE, then 25 along the UNet, for a curve at x = 0, 1/24, …, 1. The curves have the names they
have in the field (supermerger's preset file), as far as they are formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from lib_astolfo.checkpoints import yamls
from lib_astolfo.errors import BadInput

FILE = Path(__file__).resolve().parents[2] / "configs" / "block_presets.yaml"
COUNT = 26


def _smoothstep(x: float) -> float:
    return x * x * (3 - 2 * x)


def _repeated(curve: Callable[[float], float], times: int) -> Callable[[float], float]:
    """The curve run through ``times`` times, every second run backwards, so that it has no jump."""

    def repeated(x: float) -> float:
        run, rest = divmod(x * times, 1.0)
        if run >= times:
            run, rest = times - 1, 1.0
        return curve(rest if int(run) % 2 == 0 else 1 - rest)

    return repeated


def _edge(width: int) -> Callable[[float], float]:
    return lambda x: 1.0 if min(round(24 * x), 24 - round(24 * x)) < width else 0.0


#: name, curve over the UNet from its first input block (0) to its last output block (1)
CURVES: dict[str, Callable[[float], float]] = {
    "ALL_A": lambda x: 0.0,
    "ALL_B": lambda x: 1.0,
    "FLAT_25": lambda x: 0.25,
    "FLAT_50": lambda x: 0.5,
    "FLAT_75": lambda x: 0.75,
    "GRAD_V": lambda x: abs(1 - 2 * x),
    "GRAD_A": lambda x: 1 - abs(1 - 2 * x),
    "WRAP08": _edge(4),
    "WRAP12": _edge(6),
    "WRAP16": _edge(8),
    "COSINE": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "REVERSE_COSINE": lambda x: (1 - math.cos(math.pi * x)) / 2,
    "SMOOTHSTEP": _smoothstep,
    "REVERSE_SMOOTHSTEP": lambda x: _smoothstep(1 - x),
    "SMOOTHSTEP*2": _repeated(_smoothstep, 2),
    "SMOOTHSTEP*3": _repeated(_smoothstep, 3),
    "SMOOTHSTEP*4": _repeated(_smoothstep, 4),
}


def _values(name: str, curve: Callable[[float], float]) -> tuple[float, ...]:
    base = 1.0 if name == "ALL_B" else 0.0
    return (base, *(round(curve(i / 24), 10) for i in range(25)))


#: The computed ones: name, 26 weights (text encoders stay A's, except for ALL_B).
CURVE_PRESETS: dict[str, tuple[float, ...]] = {name: _values(name, curve) for name, curve in CURVES.items()}


def load(path: Path = FILE) -> dict[str, tuple[float, ...]]:
    """All presets by upper-case name: the curves, then those of the file, which may replace a curve.

    Raises BadInput naming the preset if the file holds anything but lists of 26 finite numbers.
    """
    found = dict(CURVE_PRESETS)
    for name, values in (yamls.load(path) if path.exists() else {}).items():
        if not isinstance(values, list) or len(values) != COUNT or not all(_finite(value) for value in values):
            count = f"{len(values)} values" if isinstance(values, list) else type(values).__name__
            raise BadInput(f"{path}: {name}", count, f"a list of {COUNT} finite numbers")
        found[str(name).upper()] = tuple(float(value) for value in values)
    return found


def _finite(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
