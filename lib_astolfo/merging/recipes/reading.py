"""What comes out of another program's recipe: our recipe, and what was translated on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PureWindowsPath

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import Recipe

#: Folders of the WebUIs that hold checkpoints: what stands behind them is the name the host lists.
MODEL_FOLDERS = ("stable-diffusion", "checkpoints")


@dataclass(frozen=True)
class Reading:
    """A recipe of another program, read.

    Attributes:
        format: a name in ``FORMATS``.
        recipe: the same merge as our recipe.
        notes: what was decided in translating: each once, in the order it came up.
        hashes: checkpoint name to sha256, or its first digits, as the other program wrote them down; the recipe has
            them too.
    """

    format: str
    recipe: Recipe
    notes: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)


class Notes:
    """Gathers notes, each once, in order."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def add(self, text: str) -> None:
        self._texts[text] = None

    def all(self) -> tuple[str, ...]:
        return tuple(self._texts)


def slots(count: int) -> list[str]:
    """Names for that many models: a to z, then m27, m28, …"""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [letters[i] if i < len(letters) else f"m{i + 1}" for i in range(count)]


def checkpoint_name(path: str) -> str:
    """The name of a checkpoint under its models folder, from a path as another machine wrote it.

    ``/`` between folders; ``./`` and an absolute path up to the WebUI's models folder are cut off; of any other
    absolute path only the file's own name is left.
    """
    pure = PureWindowsPath(path.strip())  # takes both kinds of slashes
    parts = [part for part in pure.parts if part not in (".", pure.anchor)]
    folders = [index for index, part in enumerate(parts[:-1]) if part.lower() in MODEL_FOLDERS]
    if folders and (pure.anchor or "models" in (part.lower() for part in parts)):
        return "/".join(parts[folders[-1] + 1 :])
    return parts[-1] if pure.anchor and parts else "/".join(parts)


def refuse(where: str, line: int | None, found: object, expected: str) -> BadInput:
    """The error for a place in a recipe text. ``line`` counts from 1; None where the text has no lines."""
    return BadInput(where if line is None else f"{where}: line {line}", found, expected)


def numbers(text: str, where: str) -> list[float]:
    """Numbers between commas. Errors: BadInput naming the first that is none."""
    found = []
    for position, part in enumerate(text.split(","), 1):
        try:
            found.append(float(part))
        except ValueError:
            raise BadInput(f"{where}: value {position}", repr(part.strip()), "a number") from None
    return found


def number(value: object, where: str) -> float:
    """A number, given as one or as its text. Errors: BadInput."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return float(value)
    except ValueError:
        raise BadInput(where, repr(value), "a number") from None


def listed(names: Iterable[str]) -> str:
    """For messages: the names between commas."""
    return ", ".join(names)
