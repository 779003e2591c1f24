"""The options of kohya's sd-scripts, as its programs declare them.

``kohya_options.csv`` was read from the sources: kohya-ss/sd-scripts 48d368fa (Apache-2.0), and bluvoll/sd-scripts
d7821439 for those it adds (rectified flow). Columns: name, kind of value, default, the programs that know it (letters
of ``PROGRAMS``), the fork if it is one's.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_astolfo.errors import BadInput

TABLE = Path(__file__).with_name("kohya_options.csv")
#: Letter -> program.
PROGRAMS = {
    "s": "sdxl_train",
    "n": "train_network",
    "x": "sdxl_train_network",
    "d": "train_db",
    "f": "fine_tune",
}
KINDS = ("flag", "int", "float", "text", "texts", "floats", "steps")
_EXPECTED = {"int": "a whole number", "float": "a number", "floats": "numbers", "flag": "true or false"}


@dataclass(frozen=True)
class Option:
    """``kind``: one of ``KINDS``; ``steps`` is a whole number, or a share as 0.1 or 10%. ``default``: None where there
    is none. ``programs``: names in ``PROGRAMS``. ``fork``: "" for kohya's own."""

    name: str
    kind: str
    default: Any
    programs: frozenset[str]
    fork: str


@functools.cache
def table() -> dict[str, Option]:
    """All options by name, without the dashes."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["option"]: _option(row) for row in csv.DictReader(file)}


def _option(row: dict[str, str]) -> Option:
    kind, text = row["kind"], row["default"]
    default = False if kind == "flag" else (value_of(row["option"], kind, text) if text else None)
    return Option(row["option"], kind, default, frozenset(PROGRAMS[sign] for sign in row["scripts"]), row["fork"])


def value_of(name: str, kind: str, value: Any) -> Any:
    """A value of a command line (text) or of a toml file as the option's kind has it. Raises BadInput naming it."""
    try:
        if kind == "flag":
            return _flag(value)
        if kind in ("texts", "floats"):
            listed = list(value) if isinstance(value, (list, tuple)) else [value]
            return [float(one) if kind == "floats" else str(one) for one in listed]
        if isinstance(value, (bool, dict, list, tuple)):
            raise ValueError
        return _READ[kind](value)
    except (ValueError, TypeError):
        raise BadInput(f"--{name}", repr(value)[:80], _EXPECTED.get(kind, "a text")) from None


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    return int(value)


def _steps(value: Any) -> int | float:
    """library/train_util.py:3664-3676: below 1 and with % a share, else a whole number."""
    text = str(value)
    if text.endswith("%"):
        return float(text[:-1]) / 100
    return _whole(float(text)) if float(text) >= 1 else float(text)


_READ: dict[str, Callable[[Any], Any]] = {"int": _whole, "float": float, "steps": _steps, "text": str}


def program_of(file: str) -> str | None:
    """The program that a script's name means: ``sdxl_train_v2.py`` is taken for ``sdxl_train``. None for others."""
    stem = re.split(r"[\\/]", file)[-1].removesuffix(".py")
    if stem in PROGRAMS.values():
        return stem
    near = [name for name in PROGRAMS.values() if re.match(rf"{name}[_-]", stem + "_") or stem.startswith(name)]
    others = ("control_net", "controlnet", "textual_inversion", "leco", "XTI")
    return max(near, key=len) if near and not any(word in stem for word in others) else None
