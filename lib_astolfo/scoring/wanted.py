"""Which scores somebody asks for: the setting ``scores`` of a grid or search, in all the forms it may have.

A list of names and of mappings with one key, or one mapping of several::

    scores: [sharpness, blur, {clip: models/clip-l}]
    scores: {near: pictures/of/animals, clip: {folder: models/clip-l, device: cuda}}
    scores: [{clip of another: {score: clip, folder: models/clip-h}}, my_scores.py:redness]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib_astolfo.errors import BadInput

KIND = "score"  # option that names the kind where the score is shown under another name
OWN = "own"  # kind of a function in somebody's own file
_OWN = re.compile(r"\.py:([A-Za-z_][A-Za-z_0-9]*)$")


@dataclass(frozen=True)
class Wanted:
    """A score under the name that it is shown under. ``main``: the value of the kind's first option, without its name;
    ``options``: those that are named."""

    name: str
    kind: str
    main: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether it is a name and nothing else."""
        return self.main is None and not self.options and self.name == self.kind


def read(given: Any) -> tuple[Wanted, ...]:
    """Every score that is asked for, in order. Errors: BadInput naming the key."""
    if isinstance(given, str):  # `scores=near,frechet` on the command line
        given = [part for part in given.split(",") if part.strip()]
    if not isinstance(given, Mapping | list | tuple):
        raise BadInput("scores", repr(given), "a list of names, or of mappings from a name to a folder or options")
    found = list(_entries(given))
    for at, one in enumerate(found):
        if one.name in (earlier.name for earlier in found[:at]):
            expected = f"each name once; for a second one of a kind write {{other name: {{{KIND}: {one.kind}, …}}}}"
            raise BadInput("scores", repr(one.name), expected)
    return tuple(found)


def names(given: Any) -> list[str]:
    """The names alone."""
    return [one.name for one in read(given)]


def _entries(given: Any) -> Iterator[Wanted]:
    if isinstance(given, Mapping):
        yield from (_entry(str(name), value) for name, value in given.items())
        return
    for at, one in enumerate(given):
        if isinstance(one, Mapping) and one:
            yield from _entries(one)
        elif isinstance(one, str) and one.strip():
            yield _entry(one.strip(), None)
        else:
            raise BadInput(f"scores[{at}]", repr(one), "a name, or a mapping from a name to a folder or options")


def _entry(name: str, value: Any) -> Wanted:
    own = _OWN.search(name)
    if own and value is None:
        return Wanted(own[1], OWN, name)
    if not isinstance(value, Mapping):
        own = _OWN.search(value) if isinstance(value, str) and name != OWN else None
        return Wanted(name, OWN if own else name, value)
    options = {str(key): one for key, one in value.items()}
    return Wanted(name, str(options.pop(KIND, name)), None, options)
