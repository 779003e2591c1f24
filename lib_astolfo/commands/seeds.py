"""Seeds of -1, as the WebUIs have them: any seed, chosen once for a study, so that it can go on where it was."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lib_astolfo.errors import BadInput
from lib_astolfo.search.settings import StudySettings

S = TypeVar("S", bound=StudySettings)

ANY = -1
LIMIT = 2**32  # of seeds, exclusive


def fixed(settings: S, known: Mapping[str, Any] | None = None) -> S:
    """The settings with a seed for each -1, in ``seed`` and on its axis; those of ``known``, settings of the same study
    from before, where there are any. Errors: BadInput for a seed that is none."""
    known = known or {}
    if not ANY <= settings.seed < LIMIT:
        raise BadInput("seed", settings.seed, f"a whole number from 0 to {LIMIT - 1}, or -1 for any")
    if settings.seed == ANY:
        before = known.get("seed")
        settings = replace(settings, seed=before if isinstance(before, int) and before >= 0 else any_seed())
    given = settings.axes.get("seed")
    listed = _listed(given)
    if not any(_is_any(value) for value in listed):
        return settings
    earlier = _listed((known.get("axes") or {}).get("seed"))
    kept = earlier if len(earlier) == len(listed) else [ANY] * len(listed)
    chosen = [
        (any_seed() if _is_any(old) else old) if _is_any(value) else value
        for value, old in zip(listed, kept, strict=True)
    ]
    return replace(settings, axes={**settings.axes, "seed": chosen})


def _listed(given: Any) -> list[Any]:
    """An axis's values one by one; a text at its commas."""
    from lib_astolfo.search import lists

    if isinstance(given, str):
        return list(lists.split(given))
    return list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]


def _is_any(value: Any) -> bool:
    return str(value).strip() == str(ANY)


def any_seed() -> int:
    """Any seed."""
    return secrets.randbelow(LIMIT)


def of_folder(folder: Path | None) -> dict[str, Any]:
    """The settings of the study that lies in a folder; {} without one."""
    from lib_astolfo.search.store import STUDY

    if folder is not None:
        with suppress(OSError, ValueError):
            found = json.loads((folder / STUDY).read_text(encoding="utf-8")).get("settings")
            return dict(found) if isinstance(found, dict) else {}
    return {}
