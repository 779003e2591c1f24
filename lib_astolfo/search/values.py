"""How the values of a study are written and read: numbers, words, unconds, predictions, block ratios, ranges."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from lib_astolfo.diffusion.sampling import PREDICTIONS, Sampling
from lib_astolfo.diffusion.uncond import MODES, Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import read_blocks

LONGEST = 40  # signs of block ratios that are written out in a label

_SHARES = re.compile(r"^\s*([.\d]+)\s*(?:-|to|,)\s*([.\d]+)\s*(%?)\s*$")


@dataclass(frozen=True)
class Blocks:
    """Ratios per block as a value that can be compared; what they may name is said in ``merging.recipe.Recipe``."""

    ratios: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, ratios: Mapping[str, float]) -> Blocks:
        """In the order of their names, so that equal ratios are equal values."""
        return cls(tuple(sorted((name, float(value)) for name, value in ratios.items())))

    @cached_property
    def mark(self) -> str:
        """Six digits that tell these ratios from others."""
        return sha256(repr(self.ratios).encode()).hexdigest()[:6]

    def to_dict(self) -> dict[str, float]:
        """Block to ratio."""
        return dict(self.ratios)

    def describe(self) -> str:
        """``IN04:0.5,OUT08:1``; of many blocks how many, their mean and a mark."""
        words = ",".join(f"{name}:{value:g}" for name, value in self.ratios)
        if len(words) <= LONGEST:
            return words
        mean = sum(value for _, value in self.ratios) / len(self.ratios)
        return f"{len(self.ratios)} of mean {mean:.3g} ({self.mark})"


@dataclass(frozen=True)
class Shares:
    """A range of the schedule, 0 (pure noise) to 1 (clean)."""

    start: float
    end: float

    def to_dict(self) -> dict[str, float]:
        return {"start": self.start, "end": self.end}

    def describe(self) -> str:
        """``20-100 %``."""
        return f"{100 * self.start:g}-{100 * self.end:g} %"


@dataclass(frozen=True)
class ByRatio:
    """The ``mixed`` reading with the merge's own ratio as the share of v: a merge of an eps base (ratio 0) and a
    v-trained model (1) read as what it is."""

    zero_terminal_snr: bool = False

    def at(self, ratio: float) -> Sampling:
        """The reading of a merge at a ratio; at 0 it is eps, which has no zero terminal SNR."""
        weight = min(max(ratio, 0.0), 1.0)
        return Sampling("mixed", self.zero_terminal_snr and weight > 0.0, mixed_weight=weight)

    def to_dict(self) -> dict[str, Any]:
        return {"prediction": "mixed", "mixed_weight": "ratio", "zero_terminal_snr": self.zero_terminal_snr}

    def describe(self) -> str:
        """``mixed ratio ZTSNR``."""
        return "mixed ratio" + (" ZTSNR" if self.zero_terminal_snr else "")


def show(value: Any) -> str:
    """A value without its name: ``0.85``, ``null``, ``v ZTSNR``."""
    if isinstance(value, (Sampling, ByRatio, Uncond, Blocks, Shares)):
        return value.describe()
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def plain(value: Any) -> Any:
    """A value as JSON holds it."""
    return value.to_dict() if isinstance(value, (Sampling, ByRatio, Uncond, Blocks, Shares)) else value


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


def parse_prediction(where: str, given: Any) -> Sampling | ByRatio:
    """A sampling as ``parse_sampling`` reads it, or ``mixed ratio``, which has each cell's ratio as its weight."""
    if isinstance(given, ByRatio):
        return given
    if isinstance(given, Mapping) and given.get("mixed_weight") == "ratio":
        return ByRatio(switch(where, given.get("zero_terminal_snr", False)))
    words = str(given).lower().replace("+", " ").split()
    if words[:2] == ["mixed", "ratio"] and words[2:] in ([], ["ztsnr"]):
        return ByRatio(len(words) > 2)
    return parse_sampling(where, given)


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


def parse_blocks(where: str, given: Any) -> Blocks:
    """Block ratios from a mapping, a list of 20 or 26 numbers, a preset's name or a text ``IN03-OUT05:0.7,M00:1``."""
    if isinstance(given, Blocks):
        return given
    ratios = read_blocks(given, where)
    to_number = number(-10.0, 10.0)
    return Blocks.of({name: to_number(f"{where}.{name}", value) for name, value in ratios.items()})


def parse_shares(where: str, given: Any) -> Shares:
    """A range of the schedule from ``0.2-0.9``, ``20-90 %``, two numbers, or a dict of ``start`` and ``end``."""
    expected = "two shares of the schedule from 0 to 1, the first less than the second, as `0.2-0.9`"
    if isinstance(given, Shares):
        return given
    if isinstance(given, Mapping) and set(given) == {"start", "end"}:
        given = [given["start"], given["end"]]
    if isinstance(given, str):
        found = _SHARES.match(given)
        if found is None:
            raise BadInput(where, repr(given), expected)
        percent = 100.0 if found[3] else 1.0
        try:
            given = [float(found[1]) / percent, float(found[2]) / percent]
        except ValueError:
            raise BadInput(where, repr(given), expected) from None
    if not isinstance(given, (list, tuple)) or len(given) != 2:
        raise BadInput(where, repr(given), expected)
    start, end = (number(0.0, 1.0)(where, one) for one in given)
    if start >= end:
        raise BadInput(where, f"{start:g} to {end:g}", expected)
    return Shares(start, end)


def name_of_file(where: str, given: Any) -> str:
    """The name of a model or LoRA file."""
    if not isinstance(given, str) or not given.strip():
        raise BadInput(where, repr(given), "the name of a file")
    return given.strip()
