"""Where the data of a training may lie, and the digits laboratory's as such data."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from .train_settings import TrainSettings
    from .workspace import Workspace

VARIABLE = "ASTOLFO_DATA"
DATASETS = "datasets"
DIGITS = "digits"


def folders(workspace: Workspace) -> tuple[Path, ...]:
    """Folders in which data sets are found: those of ASTOLFO_DATA, ``datasets`` beside the outputs, outputs, models."""
    given = [Path(one).expanduser() for one in os.environ.get(VARIABLE, "").split(os.pathsep) if one.strip()]
    host = workspace.host.folders
    return (*given, host.outputs.parent / DATASETS, host.outputs, *host.models)


def placed(settings: TrainSettings, workspace: Workspace) -> TrainSettings:
    """The settings with every path in full. Errors: BadInput for what is not there or may not be read."""
    sources = tuple(
        replace(
            source,
            path=str(_place(source.path, f"data.sources[{at}].path", workspace)),
            root=str(_place(source.root, f"data.sources[{at}].root", workspace)) if source.root else "",
        )
        for at, source in enumerate(settings.data.sources)
    )
    cache = str(_cache(settings.cache, workspace)) if settings.cache else ""
    return replace(settings, data=replace(settings.data, sources=sources), cache=cache)


def _place(name: str, where: str, workspace: Workspace) -> Path:
    """A folder or metadata file: inside the folders of data sets, on the command line anywhere."""
    from lib_astolfo.hosts.standalone.paths import is_inside

    if name.strip().lower() == DIGITS and not Path(name).is_dir():
        return digits(workspace)
    given, inside = Path(name.strip()).expanduser(), folders(workspace)
    tries = [given.absolute()] if given.is_absolute() or workspace.free_paths else []
    for path in (*tries, *(folder / given for folder in inside)):
        if path.exists() and (workspace.free_paths or is_inside(path, inside)):
            return path.absolute()
    if workspace.free_paths:
        raise BadInput(where, repr(name), "an existing folder, or a .json or .jsonl file")
    first = ", ".join(str(folder) for folder in inside[:-1])
    raise BadInput(where, repr(name), f"a folder or metadata file inside {first}, or another one that {VARIABLE} names")


def _cache(name: str, workspace: Workspace) -> Path:
    """The folder of cached latents: inside the outputs, on the command line anywhere."""
    from lib_astolfo.hosts.standalone.paths import is_inside

    given, outputs = Path(name).expanduser(), workspace.host.folders.outputs
    if workspace.free_paths:
        return given.absolute()
    path = given if given.is_absolute() else outputs / given
    if not is_inside(path, [outputs]):
        raise BadInput("cache", repr(name), f"a folder inside {outputs}")
    return path


def within(settings: TrainSettings, workspace: Workspace) -> Path | None:
    """The folder that pictures must lie in, None for any: on the command line. Errors: BadInput."""
    from lib_astolfo.hosts.standalone.paths import is_inside

    if workspace.free_paths:
        return None
    inside = folders(workspace)
    holding = [next(one for one in inside if is_inside(Path(source.path), [one])) for source in settings.data.sources]
    if len(set(holding)) > 1:
        found = " and ".join(str(one) for one in dict.fromkeys(holding))
        raise BadInput("data.sources", f"data sets in {found}", "all in one of the folders of data sets")
    return holding[0].resolve()


def digits(workspace: Workspace) -> Path:
    """The digits laboratory's training pictures with their captions as a folder, made when it is first asked for."""
    from lib_astolfo.demo.pictures import write

    folder = workspace.host.folders.outputs / DATASETS / DIGITS
    if folder.is_dir():
        return folder
    part = folder.with_name(f".{DIGITS}-{os.getpid()}-{threading.get_ident()}")
    try:
        write(part)
        with suppress(OSError):  # another one was faster
            os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
