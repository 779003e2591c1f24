"""The grids and searches whose pictures can be looked at and voted on: which there are, and where they lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Unknown

if TYPE_CHECKING:
    from lib_astolfo.jobs import Job
    from lib_astolfo.search.kept import Kept

    from .workspace import Workspace

OWN = ("cells", "pictures", "sheets")  # folders inside a study's, which hold none
DEPTH = 3  # folders below the outputs folder in which studies are looked for
STEP = ":"  # in a study's id, where a folder's name has a slash
EXPECTED = "the id of a grid's or search's job, or its folder's name; GET /studies lists them"


def listing(workspace: Workspace) -> list[dict[str, Any]]:
    """GET /studies: the one that was changed last comes first."""
    busy = {_folder_of(job, workspace) for job in workspace.jobs.list() if not job.over}
    found = []
    for folder in folders(workspace):
        name = name_of(folder, workspace)
        found.append({"id": name, "changed": _changed(folder), "running": folder in busy, "votes": _votes(folder)})
    return sorted(found, key=lambda one: -one["changed"])


def folders(workspace: Workspace) -> Iterator[Path]:
    """The folders of all studies."""
    from lib_astolfo.search.store import STUDY

    roots = dict.fromkeys([workspace.host.folders.outputs.resolve(), workspace.host.folders.jobs.resolve()])
    seen = set()
    for root in roots:
        for base, inside, files in os.walk(root):
            depth = len(Path(base).relative_to(root).parts)
            inside[:] = sorted(
                name for name in inside if depth < DEPTH and not name.startswith(".") and name != "cells"
            )
            if STUDY in files and base not in seen:
                seen.add(base)
                yield Path(base)


def _changed(folder: Path) -> float:
    from lib_astolfo.search.store import CELLS_FILE, STUDY

    times = [(folder / name).stat().st_mtime for name in (CELLS_FILE, STUDY) if (folder / name).is_file()]
    return max(times, default=0.0)


def _votes(folder: Path) -> int:
    from lib_astolfo.search.store import read_lines
    from lib_astolfo.search.votes import VOTES_FILE

    return sum(-1 if "undo" in line else 1 for line in read_lines(folder / VOTES_FILE))


def name_of(folder: Path, workspace: Workspace) -> str:
    """The id of the study in a folder."""
    jobs, outputs = workspace.host.folders.jobs.resolve(), workspace.host.folders.outputs.resolve()
    real = folder.resolve()
    root = jobs if real.is_relative_to(jobs) else outputs
    return STEP.join(real.relative_to(root).parts)


def find(workspace: Workspace, word: str) -> Kept:
    """The study of this id; on the command line any folder too. Errors: Unknown."""
    from lib_astolfo.search.kept import is_study, read

    if workspace.free_paths and word and is_study(Path(word).expanduser()):
        return read(Path(word).expanduser())
    for folder in _candidates(workspace, word):
        if is_study(folder):
            return read(folder)
    several = inside(workspace, word)
    raise Unknown("study", repr(word), f"one of {', '.join(several)}" if several else EXPECTED)


def inside(workspace: Workspace, word: str) -> list[str]:
    """The ids of the studies in a folder that is none itself, as an exhaustion table's. Errors: Unknown."""
    found = [path.resolve() for path in _candidates(workspace, word)]
    known = {folder.resolve(): name_of(folder, workspace) for folder in folders(workspace)}
    return sorted(name for folder, name in known.items() if any(path in folder.parents for path in found))


def _candidates(workspace: Workspace, word: str) -> Iterator[Path]:
    """Where the study of this id may lie: a job's own folder, the one that the job was given, one of the outputs."""
    from lib_astolfo.hosts.standalone.paths import check_name, is_inside

    try:
        parts = check_name(word.replace(STEP, "/"))
    except BadInput as error:
        raise Unknown("study", error.found, EXPECTED) from error
    roots = []
    with suppress(BadInput):
        roots.append((_folder_of(workspace.jobs.get(parts[0]), workspace), parts[1:]))
    roots += [(workspace.host.folders.jobs, parts), (workspace.host.folders.outputs, parts)]
    allowed = [workspace.host.folders.jobs, workspace.host.folders.outputs]
    for root, rest in roots:
        folder = root.joinpath(*rest)
        if is_inside(folder, allowed):
            yield folder


def _folder_of(job: Job, workspace: Workspace) -> Path:
    """The folder of a job's study: one of the outputs folder where the settings name it, else the job's own."""
    from .grid import named_folder

    try:
        named = named_folder(str(job.settings.get("folder") or ""), workspace)
    except BadInput:
        named = None
    return (named or workspace.host.folders.jobs / job.id).resolve()


def running(workspace: Workspace, folder: Path) -> bool:
    """Whether a job draws into this folder, or waits to."""
    real = folder.resolve()
    return any(real.is_relative_to(_folder_of(job, workspace)) for job in workspace.jobs.list() if not job.over)


def view(workspace: Workspace, word: str, mark: str = "") -> dict[str, Any]:
    """GET /studies/{study}/view: what the page shows; only ``mark`` and ``running`` where nothing has changed since."""
    from lib_astolfo.search import look

    kept = find(workspace, word)
    now = f"{kept.mark}-{_votes(kept.folder)}"
    found = {"mark": now, "running": running(workspace, kept.folder), "study": name_of_any(kept.folder, workspace)}
    return found if now == mark else {**found, "view": look.view(kept)}


def name_of_any(folder: Path, workspace: Workspace) -> str:
    """The id, or the plain name of a folder outside of the outputs."""
    try:
        return name_of(folder, workspace)
    except ValueError:
        return folder.name


def file(workspace: Workspace, word: str, name: str) -> Path:
    """A file of a study. Errors: Unknown."""
    from lib_astolfo.jobs import files

    return files.find(find(workspace, word).folder, name)
