"""What ``--help`` prints, from the settings dataclasses; nothing heavy is imported for it."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable
from typing import Any

from .keys import keys
from .registry import COMMANDS, Command

WIDTH = 110
OPTIONS = """options:
  --json          one JSON object on stdout instead of words
  --models DIR    a folder with checkpoints, may be given more than once; merged files go into the first
                  (default: ./models of the checkout, and the demo models)
  --outputs DIR   where jobs and pictures go (default: ./outputs of the checkout)
  --device NAME   auto, cpu, cuda, cuda:1, mps
  --help          this text, or with a command that command's keys
"""


def overview() -> str:
    """All commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    start = "usage: python -m lib_astolfo COMMAND [file.yaml] [key=value …] [options]\n\ncommands:\n"
    end = "\nexit codes: 0 done, 1 failed or stopped, 2 bad input\n"
    return start + "\n".join(lines) + "\n\n" + OPTIONS + end


def of_command(command: Command) -> str:
    """One command and its keys."""
    kind = command.settings
    words = f" [{command.words} …]" if command.words else ""
    start = (
        f"usage: python -m lib_astolfo {command.name}{words} [file.yaml] [key=value …] [options]\n\n{command.help}\n"
    )
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].replace("``", "`").split())
    extra = "  --host ADDRESS, --port NUMBER: short for host= and port=\n" if command.name == "serve" else ""
    return start + _wrapped(text, "") + "\nkeys (name=default):\n" + "\n".join(_keys(kind)) + "\n\n" + OPTIONS + extra


def _keys(kind: type, above: str = "", indent: str = "  ") -> Iterable[str]:
    for key in keys(kind):
        if dataclasses.is_dataclass(key.default):
            yield f"{indent}{above}{key.name}: {key.help}".rstrip(": ")
            yield from _keys(type(key.default), f"{above}{key.name}.", indent + "  ")
            continue
        left = f"{indent}{above}{key.name}={_text(key.default)}"
        yield _wrapped(key.help, f"{left:<36}  ") if key.help else left


def _wrapped(text: str, first: str) -> str:
    rest = " " * 38 if first else ""
    return "\n".join(textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest)) + ("" if first else "\n")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    if dataclasses.is_dataclass(value):
        value = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        value = {name: inner for name, inner in value.items() if inner not in ("", (), 0)}
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_text(inner)}" for name, inner in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)
