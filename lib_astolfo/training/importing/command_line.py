"""A command line taken apart, of bash, cmd or PowerShell: launcher, program, options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.training.importing import options
from lib_astolfo.training.importing.options import Option

_CONTINUED = re.compile(r"[\\^`][ \t]*\r?\n")
_SETS = re.compile(r"^\s*(export\s+|set\s+|\$env:)?[A-Za-z_]\w*\s*=", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{?\w+\}?|%\w+%|\$env:\w+")
_NUMBER = re.compile(r"-?\.?[0-9]")


@dataclass
class Line:
    """``file``: the script, "" if none is named. ``given``: options of the program by name, in their order. ``twice``:
    those that were given again, where the last counts. ``strange``: (option, value) that no program knows, or this one
    does not. ``launcher``: options before the script. ``variables``: parts of values that a shell would have filled."""

    file: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    strange: list[tuple[str, str]] = field(default_factory=list)
    launcher: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)


def read(text: str) -> Line:
    """Take a command line apart. Lines may be continued by ``\\``, ``^`` or a backtick; lines that are comments, set
    variables or run something else are passed over. Raises BadInput for what is none.
    """
    commands = [tokens for line in _lines(text) for tokens in split(line) if tokens]
    found = [tokens for tokens in commands if any(map(_is_program, tokens))] or list(filter(_has_options, commands))
    if len(found) != 1:
        raise BadInput(
            "command line", f"{len(found)} commands of a training", "one, as accelerate launch sdxl_train.py"
        )
    line, tokens = Line(), found[0]
    at = next((i for i, token in enumerate(tokens) if _is_program(token)), None)
    if at is not None:
        line.file, line.launcher, tokens = tokens[at], _launcher(tokens[:at]), tokens[at + 1 :]
    for name, values in _options(tokens):
        _take(line, name, values)
    return line


def split(text: str) -> list[list[str]]:
    """The commands of a line, each its words; ``;``, ``|``, ``&`` and ``>`` end one.

    Quotes group and fall away; a backslash stands for itself (Windows paths) except before a quote or a space, as bash
    has it. ``#`` begins a comment.
    """
    commands: list[list[str]] = [[]]
    word: str | None = None
    quote, at = "", 0
    while at < len(text):
        sign, after = text[at], text[at + 1 : at + 2]
        escaped = sign == "\\" and after in (('"',) if quote == '"' else () if quote else (" ", '"', "'"))
        at += 1 + escaped
        if escaped:
            word = (word or "") + after
        elif quote:
            word, quote = (word, "") if sign == quote else ((word or "") + sign, quote)
        elif sign in "\"'":
            quote, word = sign, word or ""
        elif sign.isspace() or sign in ";|&>":
            commands[-1] += [word] if word is not None and not (sign == ">" and word in ("1", "2")) else []
            word = None
            if not sign.isspace():
                commands.append([])
        elif sign == "#" and word is None:
            break
        else:
            word = (word or "") + sign
    if quote:
        raise BadInput("command line", f"a quote {quote} that is not closed", "a quote at its end")
    commands[-1] += [word] if word is not None else []
    return commands


def _lines(text: str) -> list[str]:
    return [line for line in _CONTINUED.sub(" ", text.strip() + "\n").splitlines() if not _SETS.match(line)]


def _is_program(token: str) -> bool:
    return token.endswith(".py") and options.program_of(token) is not None


def _has_options(tokens: list[str]) -> bool:
    """Whether a line without a script may be one of options alone."""
    return tokens[0].startswith("--") and any(_known(token) for token in tokens if token.startswith("--"))


def _known(token: str) -> bool:
    return find(token[2:].split("=")[0]) is not None


def find(name: str) -> Option | None:
    """The option of a name, which argparse lets people shorten as long as only one fits."""
    known = options.table()
    if name in known:
        return known[name]
    near = [one for one in known if one.startswith(name)] if len(name) > 3 else []
    return known[near[0]] if len(near) == 1 else None


def _launcher(tokens: list[str]) -> list[str]:
    """What stands before the script: options of accelerate, with their values."""
    first = next((i for i, token in enumerate(tokens) if token.startswith("-")), len(tokens))
    return tokens[first:]


def _options(tokens: list[str]) -> Iterator[tuple[str, list[str]]]:
    name, values = "", list[str]()
    for token in tokens:
        if token.startswith("--") and len(token) > 2:
            if name:
                yield name, values
            name, mark, value = token[2:].partition("=")
            values = [value] if mark else []
        elif not name:
            raise BadInput("command line", repr(token), "an option, as --learning_rate=1e-5")
        else:
            values.append(token)
    if name:
        yield name, values


def _take(line: Line, name: str, values: list[str]) -> None:
    option = find(name)
    line.variables += [match for value in values for match in _VARIABLE.findall(value)]
    if option is None:
        line.strange.append((name, " ".join(values)))
        return
    if option.name in line.given:
        line.twice.append(option.name)
    if option.kind == "flag":
        if values:
            raise BadInput(f"--{option.name}", " ".join(values), "nothing after it: it is a switch")
        line.given[option.name] = True
    elif option.kind in ("texts", "floats"):
        line.given[option.name] = options.value_of(option.name, option.kind, values)
    elif len(values) != 1:
        raise BadInput(f"--{option.name}", " ".join(values) or "no value", "one value")
    else:
        line.given[option.name] = options.value_of(option.name, option.kind, values[0])
