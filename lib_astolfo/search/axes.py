"""What can vary in a study: the axes, how their values are written, and what a change of value costs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lib_astolfo.diffusion.sampling import PREDICTIONS, Sampling
from lib_astolfo.diffusion.uncond import MODES, Uncond
from lib_astolfo.errors import BadInput

WEIGHTS = 2  # a change rewrites the weights
PICTURE = 0  # a change costs nothing but the pictures themselves
MAX_VALUES = 1000

_POINTS = re.compile(r"^\s*([-+.\deE]+?)\s*-\s*([-+.\deE]+?)\s*\[\s*(\d+)\s*\]\s*$")
_STEPS = re.compile(r"^\s*([-+.\deE]+?)\s*-\s*([-+.\deE]+?)\s*\(\s*\+?\s*([.\deE]+)\s*\)\s*$")


@dataclass(frozen=True)
class Axis:
    """One thing that varies. ``parse(where, given)`` makes its value or raises BadInput; ``label`` is for people."""

    name: str
    parse: Callable[[str, Any], Any]
    help: str
    cost: int = PICTURE
    words: str = ""  # before the value in labels; empty: the name

    def label(self, value: Any) -> str:
        """The value with its name, as ``ratio 0.85`` or ``zero uncond``."""
        if self.name == "uncond":
            return f"{value.describe()} uncond"
        if self.name in ("prediction", "prompt", "sampler"):
            return show(value)
        return f"{self.words or self.name} {show(value)}"


def show(value: Any) -> str:
    """A value without its name: ``0.85``, ``null``, ``v ZTSNR``."""
    if isinstance(value, (Sampling, Uncond)):
        return value.describe()
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def plain(value: Any) -> Any:
    """A value as JSON holds it."""
    return value.to_dict() if isinstance(value, (Sampling, Uncond)) else value


def number(low: float, high: float) -> Callable[[str, Any], float]:
    """A parser of finite numbers within [low, high]."""

    def parse(where: str, given: Any) -> float:
        try:
            value = math.nan if isinstance(given, bool) else float(given)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value) or not low <= value <= high:
            raise BadInput(where, repr(given), f"a number from {low:g} to {high:g}")
        return value

    return parse


def whole(low: int, high: int) -> Callable[[str, Any], int]:
    """A parser of whole numbers within [low, high]."""
    to_number = number(low, high)

    def parse(where: str, given: Any) -> int:
        value = to_number(where, given)
        if value != int(value):
            raise BadInput(where, repr(given), f"a whole number from {low} to {high}")
        return int(given) if isinstance(given, str) and given.strip().lstrip("+-").isdigit() else int(value)

    return parse


def text(where: str, given: Any) -> str:
    """Any text; numbers that YAML made of one are turned back."""
    if not isinstance(given, (str, int, float)) or isinstance(given, bool):
        raise BadInput(where, repr(given), "a text")
    return str(given)


def switch(where: str, given: Any) -> bool:
    """true or false, also as the words on and off."""
    known = {"true": True, "on": True, "false": False, "off": False}
    value = known.get(str(given).strip().lower())
    if value is None:
        raise BadInput(where, repr(given), "true or false")
    return value


def parse_uncond(where: str, given: Any) -> Uncond:
    """An uncond from its mode, ``average 0.7``, ``text: words``, a number (that weight) or a dict of its fields.

    None is the null uncond: YAML reads a bare ``null`` so.
    """
    expected = f"one of {', '.join(MODES)}, as `average 0.7` or `text: words`, or a weight from 0 to 1"
    if isinstance(given, Uncond):
        return given
    if given is None:
        return Uncond("null")
    if isinstance(given, Mapping):
        return Uncond.from_dict(given)
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return Uncond("average", weight=number(0.0, 1.0)(where, given))
    words = str(given).strip()
    if words.startswith("text:"):
        return Uncond("text", text=words[len("text:") :].strip())
    mode, _, weight = words.partition(" ")
    if mode not in MODES or (weight and mode != "average"):
        raise BadInput(where, repr(given), expected)
    return Uncond(mode, weight=number(0.0, 1.0)(where, weight)) if weight else Uncond(mode)


def parse_sampling(where: str, given: Any) -> Sampling:
    """A sampling from ``eps``, ``v``, ``v ztsnr``, ``x0``, ``rf``, ``rf shift 3``, ``mixed 0.5`` or a dict."""
    if isinstance(given, Sampling):
        return given
    if isinstance(given, Mapping):
        return Sampling.from_dict(given)
    words = str(given).lower().replace("+", " ").split()
    expected = "eps, v, `v ztsnr`, x0, rf, `rf shift 3` or `mixed 0.5`"
    if not words or words[0] not in PREDICTIONS:
        raise BadInput(where, repr(given), expected)
    options: dict[str, Any] = {"prediction": words.pop(0)}
    while words:
        word = words.pop(0)
        if word == "ztsnr":
            options["zero_terminal_snr"] = True
        elif word == "shift" and words:
            options["shift"] = number(0.01, 100.0)(where, words.pop(0))
        elif options["prediction"] == "mixed" and "mixed_weight" not in options:
            options["mixed_weight"] = number(0.0, 1.0)(where, word)
        else:
            raise BadInput(where, repr(given), expected)
    return Sampling(**options)


AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("ratio", number(-10.0, 10.0), "share of the trained model in the merge, 0 to 1", WEIGHTS),
        Axis("cfg", number(-100.0, 1000.0), "classifier-free guidance scale, 1 is none", words="CFG"),
        Axis("cfg_rescale", number(0.0, 1.0), "CFG rescale, 0 is none", words="rescale"),
        Axis("uncond", parse_uncond, "what stands on the unconditional side: " + ", ".join(MODES)),
        Axis("prediction", parse_sampling, "how the network's output is read: " + ", ".join(PREDICTIONS)),
        Axis("shift", number(0.01, 100.0), "the timestep shift of rf"),
        Axis("ztsnr", switch, "zero terminal SNR, true or false", words="ZTSNR"),
        Axis("sampler", text, "a sampler by the WebUI's name"),
        Axis("schedule", text, "a schedule of noise levels"),
        Axis("steps", whole(1, 1000), "sampling steps"),
        Axis("seed", whole(0, 2**32 - 1), "the seed of the first picture of a cell"),
        Axis("prompt", text, "the prompt of all pictures of a cell"),
    )
}


def expand(name: str, given: Any) -> tuple[Any, ...]:
    """The values of axis ``name``: from a list, one value, or a range ``0-1 [11]`` or ``0-1 (+0.1)``.

    Raises BadInput: unknown axis, no values, a value that cannot be read, the same value twice.
    """
    if name not in AXES:
        raise BadInput(f"axes.{name}", "an unknown axis", f"one of {', '.join(AXES)}")
    axis, where = AXES[name], f"axes.{name}"
    values = tuple(axis.parse(where, item) for item in _items(name, where, given))
    if not values:
        raise BadInput(where, "no values", f"at least one: {axis.help}")
    if len(values) > MAX_VALUES:
        raise BadInput(where, f"{len(values)} values", f"at most {MAX_VALUES}")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise BadInput(where, f"{show(value)} twice", "different values")
    return values


def _items(name: str, where: str, given: Any) -> list[Any]:
    if isinstance(given, str) and name not in ("prompt", "uncond", "prediction", "sampler", "schedule"):
        points, steps = _POINTS.match(given), _STEPS.match(given)
        if points:
            return _points(where, given, *points.groups())
        if steps:
            return _stepped(where, given, *steps.groups())
    if given is None and name != "uncond":
        return []
    if isinstance(given, (str, int, float, bool, Uncond, Sampling, Mapping)) or given is None:
        return [given]
    return list(given)


def _points(where: str, given: str, low: str, high: str, count: str) -> list[float]:
    start, end, points = _floats(where, given, low, high, count)
    if not 2 <= points <= MAX_VALUES:
        raise BadInput(where, repr(given), f"2 to {MAX_VALUES} points, as in `0-1 [11]`")
    return [round(start + (end - start) * i / (points - 1), 10) for i in range(int(points))]


def _stepped(where: str, given: str, low: str, high: str, step: str) -> list[float]:
    start, end, width = _floats(where, given, low, high, step)
    if width <= 0 or end < start or (end - start) / width > MAX_VALUES:
        raise BadInput(where, repr(given), "a rising range with a step above 0, as in `0-1 (+0.1)`")
    return [round(start + width * i, 10) for i in range(int((end - start) / width + 1e-9) + 1)]


def _floats(where: str, given: str, *parts: str) -> list[float]:
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise BadInput(where, repr(given), "numbers, as in `0-1 [11]` or `0-1 (+0.1)`") from None
