"""The text of sd-mecha's recipes (.mecha), in its three dialects.

* ``call``: commands ``model "path"``, ``lora``, ``call "method" &0 &1 alpha=0.5``, ``dict name=0.5 …``; ratios per
  class of layers. February 2024 (ljleb/sd-mecha 8259d55, recipe_serializer.py).
* ``0.0``: ``merge`` instead of ``call``, ``model "path" "sdxl" "base"``; no escapes in texts. Until January 2025
  (be45b2c to bdb671d, recipe_serializer.py).
* ``0.1.0``: begins with ``version 0.1.0``; ``model_config=`` and ``merge_space=``, ``null``, ``true``, ``false``,
  escaped texts, parameters by position too, ``literal``, comments (d61c178 to 1.1.8, serialization.py).

Every line makes one result; ``&n`` is the n-th result, from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from lib_astolfo.errors import BadInput

from .reading import refuse

VERSION = "0.1.0"
CALL, OLD, NEW = "call", "0.0", VERSION  # the dialects
_COMMANDS = {
    CALL: ("model", "lora", "call", "dict"),
    OLD: ("model", "merge", "dict", "parameter"),
    NEW: ("model", "merge", "dict", "literal"),
}
_CONSTANTS: dict[str, bool | None] = {"null": None, "true": True, "false": False}
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$|[-+]?(inf|nan)$", re.IGNORECASE)


@dataclass(frozen=True)
class Ref:
    """The result of an earlier line."""

    index: int


Value = Ref | float | int | bool | str | None


@dataclass(frozen=True)
class Line:
    """One instruction. ``number`` counts the lines of the text from 1."""

    number: int
    command: str
    args: tuple[Value, ...]
    named: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Script:
    """A whole text: its dialect, and one line for each result."""

    dialect: str
    lines: tuple[Line, ...]


def looks_like(text: str) -> bool:
    """Whether a text can be a .mecha recipe."""
    first = next((line.strip() for line in text.lstrip("\ufeff").splitlines() if line.strip()), "")
    return re.match(r'(version \d|(model|call|merge|lora|literal) "|dict \w+=)', first) is not None


def parse(text: str, where: str = "recipe") -> Script:
    """Take a text apart. Errors: BadInput with the line's number, what is there and what would be right."""
    numbered = [(number, line.strip()) for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1)]
    numbered = [(number, line) for number, line in numbered if line]
    if not numbered:
        raise BadInput(where, "an empty text", "a .mecha recipe")
    dialect = OLD
    if numbered[0][1].startswith("version"):
        dialect = _version(*numbered.pop(0), where)
        numbered = [(number, line) for number, line in numbered if not line.startswith("#")]
    elif any(line.startswith(("call ", "lora ")) for _, line in numbered):
        dialect = CALL
    lines: list[Line] = []
    for number, line in numbered:
        lines.append(_line(number, line, dialect, len(lines), where))
    if not lines:
        raise BadInput(where, "no instruction", "at least one model or merge")
    return Script(dialect, tuple(lines))


def _version(number: int, line: str, where: str) -> str:
    version = line.removeprefix("version").strip()
    if version != VERSION:
        raise refuse(where, number, f"version {version}", f"version {VERSION}, or no version line (before 2025)")
    return NEW


def _line(number: int, line: str, dialect: str, results: int, where: str) -> Line:
    tokens = list(_tokens(line, number, dialect, where))
    command = tokens[0]
    if command not in _COMMANDS[dialect]:
        known = ", ".join(_COMMANDS[dialect])
        raise refuse(where, number, repr(command[:60]), f"one of {known} (sd-mecha dialect {dialect})")
    args: list[Value] = []
    named: dict[str, Value] = {}
    for token in tokens[1:]:
        name, equals, value = token.partition("=")
        if equals and not token.startswith('"'):
            named[name] = _value(value, number, results, where)
        else:
            args.append(_value(token, number, results, where))
    return Line(number, command, tuple(args), named)


def _tokens(line: str, number: int, dialect: str, where: str) -> Iterator[str]:
    """Words between spaces; a text in quotes is one word and keeps its first and last quote."""
    word, quoted, position = "", False, 0
    while position < len(line):
        sign = line[position]
        if sign == "\\" and dialect == NEW and position + 1 < len(line):
            position += 1
            word += line[position]
        elif sign == '"':
            quoted = not quoted
            word += '"'
        elif sign.isspace() and not quoted:
            if word:
                yield word
            word = ""
        else:
            word += sign
        position += 1
    if quoted:
        raise refuse(where, number, "a text without its closing quote", 'quotes in pairs, such as "name"')
    if word:
        yield word


def _value(token: str, number: int, results: int, where: str) -> Value:
    if len(token) >= 2 and token[0] == token[-1] == '"':
        return token[1:-1]
    if token in _CONSTANTS:
        return _CONSTANTS[token]
    if token.startswith("&"):
        index = int(token[1:]) if token[1:].isdecimal() else -1
        if not 0 <= index < results:
            raise refuse(where, number, token, f"&0 to &{results - 1}: a result of an earlier line")
        return Ref(index)
    if not _NUMBER.match(token):
        raise refuse(where, number, repr(token[:60]), "a number, a text in quotes, &n, null, true or false")
    value = float(token)
    return int(value) if value.is_integer() and re.fullmatch(r"[-+]?\d+", token) else value
