"""The files of a job: which there are, and that a name means one of them and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from lib_astolfo.errors import Unknown


def listing(folder: Path) -> tuple[str, ...]:
    """Names relative to ``folder`` with ``/``, in order; without links, and without names that start with a dot."""
    names = []
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(base, name)
            if not name.startswith(".") and not path.is_symlink():
                names.append(path.relative_to(folder).as_posix())
    return tuple(sorted(names))


def find(folder: Path, name: str) -> Path:
    """The path of the file that ``listing`` shows under this name. Errors: Unknown."""
    parts = name.split("/")
    bad = any(part in ("", ".", "..") or part.startswith(".") for part in parts)
    if bad or any(sign in name for sign in '\\:*?"<>|\0') or PurePosixPath(name).is_absolute():
        raise Unknown("name", repr(name), "the name of one of the job's files")
    path = folder.joinpath(*parts)
    root = folder.resolve()
    try:
        inside = path.is_file() and path.resolve() == root.joinpath(*parts)
    except (OSError, ValueError):  # a name too long, or one the system cannot spell
        inside = False
    if not inside:
        raise Unknown("name", repr(name), "the name of one of the job's files")
    return path


def delete(folder: Path) -> None:
    """Remove the folder and all that is in it; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
