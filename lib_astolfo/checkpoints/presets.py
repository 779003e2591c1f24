"""Named block weights: curves that are computed here, and lists in ``configs/block_presets.yaml`` for people to edit.

Each has 26 values: BASE, then 25 along the UNet, for a curve at x = 0, 1/24, …, 1. All 38 names of supermerger's preset
file are here, with its values (hako-mikan/sd-webui-supermerger, scripts/mbwpresets_master.txt), as formulas. In a name
``-`` and ``_`` are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from lib_astolfo.checkpoints import yamls
from lib_astolfo.errors import BadInput

FILE = Path(__file__).resolve().parents[2] / "configs" / "block_presets.yaml"
COUNT = 26

Curve = Callable[[float], float]


def smoothstep(x: float) -> float:
    """3x² - 2x³."""
    return x * x * (3 - 2 * x)


def folded(x: float) -> float:
    """The triangle wave that goes 0, 1, 0, 1 … at x = 0, 1, 2, 3 …"""
    rest = x % 2
    return rest if rest <= 1 else 2 - rest


def reverse(curve: Curve) -> Curve:
    """1 - curve."""
    return lambda x: 1 - curve(x)


def _true_hermite(x: float) -> float:
    return (154 * x**3 - 231 * x**2 + 100 * x + 1) / 24 if x > 0 else 0.0


def _fake_hermite(x: float) -> float:
    return (152 * x**3 - 228 * x**2 + 100 * x) / 24


def _steps(value: Callable[[int], float]) -> Curve:
    """A curve by the number of its point, 0 to 24."""
    return lambda x: float(value(round(24 * x)))


def _edge(width: int) -> Curve:
    """1 at the first and last ``width`` points."""
    return _steps(lambda i: min(i, 24 - i) < width)


def _ring(first: int, last: int) -> Curve:
    """1 where the distance from the middle block is ``first`` to ``last`` points."""
    return _steps(lambda i: first <= abs(i - 12) <= last)


def _soft_ring(i: int) -> float:
    distance = abs(i - 12)
    return 0.5 if distance in (3, 7) else float(3 < distance < 7)


def _smoothsteps() -> dict[str, Curve]:
    """``*n``: n times as high, folded back into 0 to 1; ``/n``: n times as fast, there and back; ``R_``: 1 minus it."""
    found: dict[str, Curve] = {}
    for n in (2, 3, 4):
        found[f"SMOOTHSTEP*{n}"] = lambda x, n=n: folded(n * smoothstep(x))  # type: ignore[misc]
        found[f"SMOOTHSTEP/{n}"] = lambda x, n=n: smoothstep(folded(n * x))  # type: ignore[misc]
    return found | {f"R_{name}": reverse(curve) for name, curve in found.items()}


#: name, curve over the UNet from its first input block (0) to its last output block (1)
CURVES: dict[str, Curve] = {
    "ALL_A": lambda x: 0.0,
    "ALL_B": lambda x: 1.0,
    "FLAT_25": lambda x: 0.25,
    "FLAT_50": lambda x: 0.5,
    "FLAT_75": lambda x: 0.75,
    "GRAD_V": lambda x: abs(1 - 2 * x),
    "GRAD_A": lambda x: 1 - abs(1 - 2 * x),
    "WRAP08": _edge(4),
    "WRAP12": _edge(6),
    "WRAP14": _edge(7),
    "WRAP16": _edge(8),
    "MID12_50": _steps(lambda i: 0.5 * (5 <= i <= 18)),
    "OUT07": _steps(lambda i: i >= 18),
    "OUT12": _steps(lambda i: i >= 13),
    "OUT12_5": _steps(lambda i: 0.5 if i == 12 else i > 12),
    "RING08_SOFT": _steps(_soft_ring),
    "RING08_5": _ring(3, 6),
    "RING10_5": _ring(3, 7),
    "RING10_3": _ring(2, 6),
    "SMOOTHSTEP": smoothstep,
    "REVERSE_SMOOTHSTEP": reverse(smoothstep),
    **_smoothsteps(),
    "COSINE": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "REVERSE_COSINE": lambda x: (1 - math.cos(math.pi * x)) / 2,
    "TRUE_CUBIC_HERMITE": _true_hermite,
    "TRUE_REVERSE_CUBIC_HERMITE": reverse(_true_hermite),
    "FAKE_CUBIC_HERMITE": _fake_hermite,
    "FAKE_REVERSE_CUBIC_HERMITE": reverse(_fake_hermite),
}


def _values(name: str, curve: Curve) -> tuple[float, ...]:
    base = 1.0 if name == "ALL_B" else 0.0
    return (base, *(round(curve(i / 24), 10) + 0.0 for i in range(25)))


#: The computed ones: name, 26 weights (text encoders stay A's, except for ALL_B).
CURVE_PRESETS: dict[str, tuple[float, ...]] = {name: _values(name, curve) for name, curve in CURVES.items()}


def find(name: str, path: Path = FILE) -> tuple[float, ...] | None:
    """The 26 weights of that name, or None. Errors: as ``load``."""
    return load(path).get(_plain(name))


def load(path: Path = FILE) -> dict[str, tuple[float, ...]]:
    """All presets by upper-case name: the curves, then those of the file, which may replace a curve.

    Raises BadInput naming the preset if the file holds anything but lists of 26 finite numbers.
    """
    found = dict(CURVE_PRESETS)
    for name, values in (yamls.load(path) if path.exists() else {}).items():
        if not isinstance(values, list) or len(values) != COUNT or not all(_finite(value) for value in values):
            count = f"{len(values)} values" if isinstance(values, list) else type(values).__name__
            raise BadInput(f"{path}: {name}", count, f"a list of {COUNT} finite numbers")
        found[_plain(str(name))] = tuple(float(value) for value in values)
    return found


def _plain(name: str) -> str:
    return name.strip().upper().replace("-", "_")


def _finite(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
