"""What is remembered per checkpoint, and which one stands behind a file whose hash is known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import readings

if TYPE_CHECKING:
    from pathlib import Path

    from lib_astolfo.checkpoints.memory import Remembered
    from lib_astolfo.checkpoints.prediction import Identified
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.hosts.base import CheckpointEntry

    from .workspace import Workspace

_HASH = re.compile("[0-9a-fA-F]{10}")


@dataclass(frozen=True)
class RememberRequest:
    """What to remember for one checkpoint, in place of what was remembered for it."""

    model: str = ""  # a checkpoint's name (the whole file is read once for its hash), or its hash of 10 digits
    sampling: Any = None  # `v ztsnr`, `rf shift 3`, or a mapping; empty: as the checkpoint says
    uncond: Any = ""  # `null`, `average 0.7`, or a mapping; empty: as the checkpoint says
    cfg_rescale: float = 0.0  # 0 to 1; 0 is none


def remember(
    workspace: Workspace, name_or_hash: str, sampling: Any = None, uncond: Any = None, cfg_rescale: float = 0.0
) -> dict[str, Any]:
    """Remember it for this file's bytes, whatever they are called; the entry, with its ``hash``.

    ``sampling`` and ``uncond`` as ``readings`` reads them, or the objects themselves. Errors: BadInput, Failed.
    """
    from lib_astolfo.checkpoints.memory import Remembered
    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.diffusion.uncond import Uncond

    if not isinstance(sampling, Sampling):
        sampling = readings.read_sampling(sampling)
    if not isinstance(uncond, Uncond):
        uncond = readings.read_uncond(uncond)
    short_hash, path = find(workspace, name_or_hash)
    name = path.name if path is not None else _name_of(workspace, short_hash)
    what = Remembered(sampling, uncond, cfg_rescale, name)
    workspace.memory.remember(short_hash, what, path)
    return {"hash": short_hash, **what.to_dict()}


def forget(workspace: Workspace, name_or_hash: str) -> dict[str, Any]:
    """Remember nothing for it; what was remembered, ``forgotten``: whether there was anything. Errors: BadInput."""
    if _HASH.fullmatch(name_or_hash.strip()):
        short_hash = name_or_hash.strip().lower()
    else:
        short_hash = find(workspace, name_or_hash)[0]
    before = workspace.memory.get(short_hash)
    workspace.memory.forget(short_hash)
    return {"hash": short_hash, "forgotten": before is not None}


def listing(workspace: Workspace) -> list[dict[str, Any]]:
    """All that is remembered, by name."""
    return [{"hash": short_hash, **what.to_dict()} for short_hash, what in workspace.memory.all().items()]


def find(workspace: Workspace, name_or_hash: str) -> tuple[str, Path | None]:
    """Hash and file of a checkpoint; for a hash no file. A file of unknown hash is read once. Errors: BadInput."""
    from lib_astolfo.checkpoints.reader import CheckpointFile

    if not isinstance(name_or_hash, str) or not name_or_hash.strip():
        raise BadInput("model", "nothing", "the name of a checkpoint, or its hash of 10 digits")
    if _HASH.fullmatch(name_or_hash.strip()):
        return name_or_hash.strip().lower(), None
    path = workspace.resolve(name_or_hash)
    known = workspace.memory.hash_of(path)
    model = workspace.host.model
    if known is None and model is not None and model.entry.path == path and not model.source.changed():
        known = model.source.short_hash
    if known is None:
        known = next((e.short_hash for e in workspace.host.checkpoints() if e.path == path and e.short_hash), None)
    if known is None:
        with CheckpointFile.open(path) as file:
            known = file.short_hash
    return known, path


def hash_of(workspace: Workspace, entry: CheckpointEntry) -> str | None:
    """The hash of a listed checkpoint if it is known; the file is not read for it."""
    return entry.short_hash or workspace.memory.hash_of(entry.path)


def said(workspace: Workspace, file: CheckpointFile) -> Identified:
    """What a checkpoint predicts: as remembered, if its hash is known without reading it, else as it says itself."""
    from lib_astolfo.checkpoints.doctor import said_of

    return said_of(file, of_path(workspace, file.path)[1] if workspace.memory.all() else None)


def of_path(workspace: Workspace, path: Path) -> tuple[str | None, Remembered | None]:
    """The hash of a file if it is known without reading it, and what is remembered for it."""
    known = workspace.memory.hash_of(path)
    if known is None:
        known = next((e.short_hash for e in workspace.host.checkpoints() if e.path == path), None)
    return known, workspace.memory.get(known) if known is not None else None


def of_loaded(workspace: Workspace, *, drawing: bool = False) -> Remembered | None:
    """What is remembered for the loaded model, None for nothing, or while its hash is not known.

    ``drawing``: a picture follows, whose infotext needs the hash: the file is read for it if anything is remembered.
    """
    model = workspace.host.model
    if model is None or not workspace.memory.all():
        return None
    short_hash = hash_of(workspace, model.entry)
    if short_hash is None and drawing:
        short_hash = model.source.short_hash
        if not model.source.changed():
            workspace.memory.saw(short_hash, model.entry.path)
    return workspace.memory.get(short_hash) if short_hash is not None else None


def _name_of(workspace: Workspace, short_hash: str) -> str:
    for entry in workspace.host.checkpoints():
        if hash_of(workspace, entry) == short_hash:
            return entry.path.name
    known = workspace.memory.get(short_hash)
    return known.name if known is not None else ""
