"""A grid or a search found again, by its folder, its job or its database, and which of its cells is to be baked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from lib_astolfo.search.plan import Plan
    from lib_astolfo.search.store import CellResult
    from lib_astolfo.search.study import StudyResult

    from .workspace import Workspace

EACH = "each"


@dataclass(frozen=True)
class Found:
    """A study with its finished cells. ``name``: what it is called where it was found."""

    name: str
    kind: str
    result: StudyResult

    @property
    def hash(self) -> str:
        """Sixteen digits that tell what was asked, of which files, and what every cell had."""
        cells = sorted((one.cell.key, _scores(one)) for one in self.result.cells)
        text = json.dumps([self.result.plan.fingerprint, cells], sort_keys=True)
        return sha256(text.encode()).hexdigest()[:16]


def find(workspace: Workspace, word: str, name: str = "search") -> Found:
    """A study by what ``studies.find`` takes, or by the URL of its database and its ``name`` there.

    Errors: BadInput where there is none, or none of its cells is finished.
    """
    from . import studies

    if "://" in word:
        return _of_database(workspace, word, name)
    found = studies.find(workspace, word.strip())
    return Found(studies.name_of_any(found.folder, workspace), found.kind, found.result())


def _of_database(workspace: Workspace, url: str, name: str) -> Found:
    from lib_astolfo.search.gathered import gathered
    from lib_astolfo.search.ledger import DONE, Ledger
    from lib_astolfo.search.searching import read

    from . import search
    from . import settings as reading

    search.check_url(url, workspace)
    ledger = Ledger(url, name)
    try:
        known = ledger.settings()
        if known is None:
            raise BadInput("study", f"no study {name!r} in it", "the name (study_name) of one that was begun")
        begun = reading.from_dict(search.SearchSettings, known["settings"])
        plan = search.prepare(begun, workspace)[0]
        cells = [read(plan, entry) for entry in ledger.entries() if entry.state == DONE]
    finally:
        ledger.close()
    if not cells:
        raise BadInput("study", f"{name} has no finished cell", "a study that has drawn some")
    return Found(name, "search", gathered(plan, cells, workspace.host.folders.outputs))


def cell_of(found: Found, which: str, under: str) -> CellResult:
    """The cell that is meant: the best, the best ``under`` an uncond, or ``which``: by its label or a part of it.

    Errors: BadInput.
    """
    result = found.result
    if which.strip():
        if under:
            raise BadInput("under", "beside cell", "one of them")
        return _named(result, which.strip())
    cells = [one for one in result.cells if not under or _is_under(result.plan, one, under)]
    if not cells:
        raise BadInput("under", repr(under), f"each, or an uncond of the study: {', '.join(unconds(found))}")
    best = result.best(cells)
    if best is None:
        labels = "; ".join(one.cell.label for one in cells[:4])
        raise BadInput("cell", "nothing, and no score of the study has a better side", f"one of its cells: {labels}; …")
    return best


def _named(result: StudyResult, which: str) -> CellResult:
    wanted = _flat(which)
    found = [one for one in result.cells if wanted in (_flat(one.cell.label), Path(one.picture).stem.lower())]
    found = found or [one for one in result.cells if _parts(wanted) <= _parts(_flat(one.cell.label))]
    if len(found) == 1:
        return found[0]
    labels = "; ".join(one.cell.label for one in (found or result.cells)[:6])
    raise BadInput("cell", repr(which), f"{'one of several' if found else 'one of its cells'}: {labels}")


def _flat(words: str) -> str:
    return " ".join(words.lower().replace("=", " ").split())


def _parts(words: str) -> set[str]:
    return {part.strip() for part in words.split(",")}


def _is_under(plan: Plan, one: CellResult, under: str) -> bool:
    return _flat(plan.uncond_of(one.cell).describe()) == _flat(under)


def unconds(found: Found) -> list[str]:
    """The unconds of a study's cells in words, each once."""
    plan = found.result.plan
    return list(dict.fromkeys(plan.uncond_of(one.cell).describe() for one in found.result.cells))


def evidence(found: Found, chosen: CellResult, under: str = "") -> dict[str, Any]:
    """What the header of a baked file says of the study: which, how much was drawn, what this cell had, how to draw."""
    from lib_astolfo.search import outcome

    result, made = found.result, outcome.product(found.result.plan, chosen)
    settings = result.plan.settings
    prompts = result.plan.axes.get("prompt", settings.prompts)
    best = result.best()
    said: dict[str, Any] = {
        "name": found.name,
        "hash": found.hash,
        "kind": found.kind,
        "cells": len(result.cells),
        "prompts": min(len(prompts), settings.pictures) if "prompt" not in result.plan.axes else len(prompts),
        "pictures": settings.pictures,
        "seeds": [settings.seed, (settings.seed + settings.pictures - 1) % 2**32],
        "cell": made["label"],
        "scores": made["scores"],
        "advice": made["advice"],
        "best": best is not None and best.cell.key == chosen.cell.key,
    }
    if result.plan.primary is not None:
        said["primary"] = result.plan.primary.name
    if result.stopped:
        said["stopped"] = True
    return {**said, **({"under": under} if under else {})}


def check_files(found: Found, workspace: Workspace) -> None:
    """The models are those of which the study was drawn. Errors: BadInput naming one that is not."""
    from lib_astolfo.search.marks import mark

    for name, expected in found.result.plan.identity.items():
        now = mark(workspace.resolve(name))
        if now != expected:
            raise BadInput(name, f"another file ({now})", f"the one that the study was drawn with ({expected})")


def _scores(one: CellResult) -> Mapping[str, Any]:
    return {name: f"{value.mean:.6g} {value.error:.6g}" for name, value in sorted(one.scores.items())}
