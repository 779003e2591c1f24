"""Scores that need something: a folder of pictures, a model's files, a reference, or somebody's own function.

Each is made by one function of a :class:`Given`. What it needs is looked at when it is made; what is heavy is read when
the first picture comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.score import Better, Score
from lib_astolfo.scoring.wanted import Wanted

Locate = Callable[[str, str], Path]  # (key, what was given) -> an existing file or folder that may be read
_NEEDED = object()


@dataclass(frozen=True)
class Option:
    """An option of a maker. ``kind``: path (a file or a folder), text, side (a word or a number), or function (in a
    file)."""

    name: str
    kind: str
    help: str
    default: Any = _NEEDED

    @property
    def needed(self) -> bool:
        """Whether it must be given."""
        return self.default is _NEEDED


@dataclass(frozen=True)
class Given:
    """What a maker gets: the name to be shown, the options by name (paths resolved), and of the study its prompts and
    how many pictures a cell has; ``cache`` is a folder in which a score may keep what took long, None for none."""

    name: str
    options: Mapping[str, Any]
    prompts: tuple[str, ...] = ()
    pictures: int = 1
    cache: Path | None = None

    def where(self, option: str) -> str:
        """The key for an error."""
        return f"scores.{self.name}.{option}"


@dataclass(frozen=True)
class Maker:
    """A kind of score. The first option may be given without its name."""

    name: str
    make: Callable[[Given], Score]
    options: tuple[Option, ...]
    better: Better
    help: str
    limit: float | None = None
    least: int = 1


@dataclass(frozen=True)
class Surroundings:
    """Where scores are made: ``locate`` finds files that may be read; ``own``: whether functions out of files may be
    run, which is the right of the machine's owner alone. ``cache``: where they may keep what took long."""

    locate: Locate
    own: bool = False
    prompts: tuple[str, ...] = ()
    pictures: int = 1
    cache: Path | None = None


def made(
    wanted: Sequence[Wanted], known: Mapping[str, Score], makers: Mapping[str, Maker], around: Surroundings
) -> dict[str, Score]:
    """The scores that are asked for, by the name that each is shown under. Errors: BadInput naming key and option."""
    return {one.name: _made(one, known, makers, around) for one in wanted}


def _made(one: Wanted, known: Mapping[str, Score], makers: Mapping[str, Maker], around: Surroundings) -> Score:
    bare = one.main is None and not one.options
    if bare and one.kind in known:
        return known[one.kind] if one.name == one.kind else replace(known[one.kind], name=one.name)
    maker = makers.get(one.kind)
    if maker is None:
        if one.kind in known:
            raise BadInput(f"scores.{one.name}", repr(one.main or dict(one.options)), "nothing: it has no options")
        raise BadInput("scores", repr(one.kind), f"one of {', '.join(sorted({*known, *makers}))}")
    return maker.make(Given(one.name, _options(one, maker, around), around.prompts, around.pictures, around.cache))


def _options(one: Wanted, maker: Maker, around: Surroundings) -> dict[str, Any]:
    given = dict(one.options)
    if one.main is not None:
        if not maker.options:
            raise BadInput(f"scores.{one.name}", repr(one.main), "nothing: it has no options")
        given[maker.options[0].name] = one.main
    options = {option.name: option for option in maker.options}
    for name in given:
        if name not in options:
            expected = f"one of {', '.join(options)}" if options else "nothing: it has no options"
            raise BadInput(f"scores.{one.name}", repr(name), expected)
    return {name: _value(option, given, one.name, around) for name, option in options.items()}


def _value(option: Option, given: Mapping[str, Any], name: str, around: Surroundings) -> Any:
    where = f"scores.{name}.{option.name}"
    value = given.get(option.name)
    if value is None:
        if option.needed:
            raise BadInput(where, "nothing", option.help)
        return option.default
    if option.kind == "side" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str) or not value.strip():
        raise BadInput(where, repr(value), option.help)
    if option.kind == "function":
        return _function(value.strip(), where, around)
    return around.locate(where, value.strip()) if option.kind == "path" else value.strip()


def _function(text: str, where: str, around: Surroundings) -> tuple[Path, str]:
    path, colon, function = text.rpartition(":")
    if not colon or not function.isidentifier():
        raise BadInput(where, repr(text), "file.py:function")
    if not around.own:
        raise BadInput(
            where, repr(text), "no function of a file: such code is run on the command line of its owner only"
        )
    return around.locate(where, path), function
