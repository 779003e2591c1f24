"""Names of checkpoints: paths relative to a models folder, written with ``/``, that never lead out of it."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PureWindowsPath

from lib_astolfo.checkpoints.files import LONGEST, is_reserved
from lib_astolfo.errors import BadInput

SUFFIX = ".safetensors"
FORBIDDEN = '<>:"|?*'
NEAREST = 3


def check_name(name: str) -> tuple[str, ...]:
    """The parts of a name, or BadInput with the reason why no system should be asked for it.

    Refused: nothing, absolute paths of any system, ``..``, names that Windows reserves or cannot hold, control
    characters, parts that end with a dot or a space.
    """
    if not isinstance(name, str) or not name.strip():
        raise BadInput("checkpoint", repr(name), "the name of a checkpoint")
    slashed = name.replace("\\", "/")
    windows = PureWindowsPath(name)
    if slashed.startswith(("/", "~")) or windows.drive or windows.root:
        raise BadInput("checkpoint", repr(name), "a name inside the models folders, not an absolute path")
    parts = tuple(slashed.split("/"))
    for part in parts:
        if part in ("", ".", ".."):
            raise BadInput("checkpoint", repr(name), "a name inside the models folders, without empty parts, . and ..")
        if len(part.encode("utf-8", errors="replace")) > LONGEST:
            raise BadInput("checkpoint", f"{part[:40]!r}…", f"a name of at most {LONGEST} bytes")
        if is_reserved(part):
            raise BadInput("checkpoint", repr(name), f"a name that Windows allows: {part!r} is a device there")
        if part != part.rstrip(". ") or any(sign in FORBIDDEN or ord(sign) < 32 for sign in part):
            expected = (
                f"a name that every system allows: no {FORBIDDEN} or control characters, no dot or space at an end"
            )
            raise BadInput("checkpoint", repr(name), expected)
    return parts


def is_inside(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path, all links followed, is inside one of the folders."""
    real = path.resolve()
    return any(real.is_relative_to(folder.resolve()) for folder in folders)


def resolve(name: str, folders: Sequence[Path], known: Callable[[], Iterable[str]]) -> Path:
    """The file of a checkpoint's name; the ending may be left out. The first folder that has it wins.

    Args:
        known: gives the names to suggest when this one is not there.
    Raises:
        BadInput: an unsafe name, a link that leads out of the folders, a pickle, or no such file.
    """
    parts = check_name(name)
    for candidate in _spellings(parts):
        for folder in folders:
            path = folder.joinpath(*candidate)
            if not os.path.isfile(path):  # False also for a path that is too long, where pathlib would raise
                continue
            if not is_inside(path, folders):
                raise BadInput(
                    "checkpoint", repr(name), f"a file inside the models folders; this links to {path.resolve()}"
                )
            if path.suffix.lower() != SUFFIX:
                raise BadInput("checkpoint", repr(name), f"a {SUFFIX} file")
            return path
    raise BadInput("checkpoint", repr(name), _suggestion("/".join(parts), list(known())))


def _spellings(parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """As given, with the ending, and both in the two normal forms of Unicode (macOS stores accents apart)."""
    found: list[tuple[str, ...]] = []
    for last in (parts[-1], parts[-1] + SUFFIX):
        whole = (*parts[:-1], last)
        forms = (whole, *(tuple(unicodedata.normalize(form, part) for part in whole) for form in ("NFC", "NFD")))
        found.extend(form for form in forms if form not in found)
    return found


def _suggestion(name: str, known: list[str]) -> str:
    if not known:
        return "a checkpoint; the models folders have none"
    by_lower = {item.lower(): item for item in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=NEAREST, cutoff=0.3)
    shown = [by_lower[item] for item in near] or sorted(known)[:NEAREST]
    return "the name of a checkpoint in the models folders; nearest: " + ", ".join(shown)
