"""Named curves of block weights, computed. Each has 26 values: BASE, then 25 along the UNet at x = 0, 1/24, …, 1.

Names as in the field (supermerger's preset file); only those that are formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable


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


#: name, 26 weights (text encoders stay A's, except for ALL_B)
PRESETS: dict[str, tuple[float, ...]] = {name: _values(name, curve) for name, curve in CURVES.items()}
