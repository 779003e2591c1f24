"""The doctor's copy of a checkpoint: fixes, parts of other files, marker keys."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import memory
from .names import resolve_as, resolve_part
from .outputs import checkpoint_target

if TYPE_CHECKING:
    from lib_astolfo.checkpoints.fixes import Case
    from lib_astolfo.checkpoints.memory import Remembered
    from lib_astolfo.checkpoints.mend import Pieces
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.jobs import Task

    from .doctor import DoctorSettings
    from .workspace import Workspace

#: Settings that name files which give something, and what a file must be able to give.
GIVERS = ("vae", "text_encoder", "clip_l", "clip_g", "values_from")


def wanted(settings: DoctorSettings) -> bool:
    """Whether a file is to be written."""
    return read_markers(settings.markers) is not None or bool(read_fixes(settings))


def check(settings: DoctorSettings, workspace: Workspace) -> None:
    """Refuse changes that cannot be or would mislead. Errors: BadInput."""
    if not wanted(settings):
        for key in ("output", "overwrite"):
            if getattr(settings, key):
                raise BadInput(key, getattr(settings, key), "fix or markers beside it, else nothing is written")
        return
    if len(settings.models) != 1:
        raise BadInput("model", f"{len(settings.models)} checkpoints", "one that is to be written again")
    path = resolve_as(workspace, "models", settings.models[0])
    _target(settings, path, workspace)
    if read_fixes(settings):
        with ExitStack() as stack:
            _plan(stack, path, settings, workspace)
    if read_markers(settings.markers) is not None:
        from lib_astolfo.checkpoints import markers
        from lib_astolfo.checkpoints.reader import CheckpointFile

        with CheckpointFile.open(path) as file:
            add, remove = _changes(file, settings, memory.of_path(workspace, path)[1])
            if add or remove:
                markers.check(file, add, remove)


def read_fixes(settings: DoctorSettings) -> tuple[str, ...]:
    """The fixes that the settings ask for, by name. Errors: BadInput."""
    from lib_astolfo.checkpoints.fixes import ALL, FIXES

    value = settings.fix
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if value is not None and (not isinstance(value, list) or not all(isinstance(word, str) for word in value)):
        raise BadInput("fix", repr(value), "all, or a list of " + ", ".join(FIXES))
    names = [name for word in value or [] for name in (ALL if word == "all" else (word,))]
    for name in names:
        if name not in FIXES:
            raise BadInput("fix", repr(name), "all, or some of " + ", ".join(FIXES))
    parts = any(getattr(settings, key) for key in GIVERS[:-1])
    if "parts" in names and not parts:
        raise BadInput("fix", "parts", "vae, text_encoder, clip_l or clip_g: the file that gives them")
    given = (("parts", parts), ("non_finite", settings.values_from), ("dtype", settings.dtype))
    return tuple(dict.fromkeys([*names, *(name for name, there in given if there)]))


def read_markers(value: Any) -> list[str] | str | None:
    """Words for the markers, "auto", [] for none, None where they stay. Errors: BadInput."""
    from lib_astolfo.checkpoints import markers

    if value is None or value == "":
        return None
    if isinstance(value, str):
        value = value.strip()
        value = value if value.lower() == "auto" else [] if value.lower() == "none" else value.split(",")
    if value == "auto":
        return "auto"
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise BadInput("markers", repr(value), "none, auto, or a list as [v_pred, ztsnr]")
    words = [word.strip() for word in value if word.strip() not in markers.LEFTOVERS]
    markers.parse(words)
    return [word.strip() for word in value]


def write(path: Path, settings: DoctorSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Write the copy, and tell what was done. What is remembered for the old hash is remembered for the new one too.

    Errors: BadInput, Failed.
    """
    from lib_astolfo.checkpoints.reader import CheckpointFile

    target = _target(settings, path, workspace)
    remembered = memory.of_path(workspace, path)[1]
    result: dict[str, Any] = {"output": str(target), "name": _name(target, workspace), "added": [], "removed": []}
    if read_fixes(settings):
        result.update(_mend(path, target, settings, workspace, task))
    else:
        result.update(_mark(path, target, settings, remembered, task))
    if remembered is not None:
        with CheckpointFile.open(target) as file:
            short_hash = file.sha256(task.progress)[:10]
        workspace.memory.remember(short_hash, replace(remembered, name=target.name), target)
        result["remembered"] = short_hash
    told = [text for text in result.get("done", {}).values() if text]
    if result["added"] or result["removed"]:
        told.append(
            f"added {', '.join(result['added']) or 'nothing'}, removed {', '.join(result['removed']) or 'nothing'}"
        )
    task.event(f"{target.name}: {'; '.join(told)}")
    return result


def _target(settings: DoctorSettings, path: Path, workspace: Workspace) -> Path:
    if settings.output:
        target = checkpoint_target(workspace, settings.output, overwrite=settings.overwrite)
        if read_fixes(settings) and target.exists() and os.path.samefile(target, path):
            raise BadInput("output", "the checkpoint itself", "another name: the old file is kept")
        return target
    if read_fixes(settings):
        raise BadInput("output", "nothing", "the name of a new file: the old one is kept")
    if not settings.overwrite:
        raise BadInput("output", "nothing", "the name of a new file, or overwrite=true to change this one")
    return path


def _mark(
    path: Path, target: Path, settings: DoctorSettings, remembered: Remembered | None, task: Task
) -> dict[str, Any]:
    """Only the marker keys."""
    from lib_astolfo.checkpoints import markers
    from lib_astolfo.checkpoints.reader import CheckpointFile

    with CheckpointFile.open(path) as file:
        add, remove = _changes(file, settings, remembered)
    markers.rewrite(path, target, add, remove, overwrite=settings.overwrite, progress=task.progress)
    return {"added": list(add), "removed": remove}


def _mend(path: Path, target: Path, settings: DoctorSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Fixes, and the marker keys with them."""
    from lib_astolfo.checkpoints import mend

    with ExitStack() as stack:
        planned = _plan(stack, path, settings, workspace)
        taken = mend.write(
            planned.pieces, target, planned.file.metadata, overwrite=settings.overwrite, progress=task.progress
        )
        dropped = [name for name in planned.file.tensors if name not in planned.pieces]
    result = {"done": planned.done, "dropped": dropped, "taken": taken}
    return {**result, "added": planned.added, "removed": planned.removed, "yaml": _copy_yaml(path, target)}


@dataclass(frozen=True)
class _Planned:
    """The new file: its pieces, what each fix did, the markers added and removed."""

    file: CheckpointFile
    pieces: Pieces
    done: dict[str, str]
    added: list[str]
    removed: list[str]


def _plan(stack: ExitStack, path: Path, settings: DoctorSettings, workspace: Workspace) -> _Planned:
    """Open the files and decide everything; nothing is written. Errors: BadInput."""
    from lib_astolfo.checkpoints import fixes
    from lib_astolfo.checkpoints.mend import Piece
    from lib_astolfo.checkpoints.reader import CheckpointFile

    opened = {
        key: stack.enter_context(CheckpointFile.open(resolve_part(workspace, key, getattr(settings, key))))
        for key in GIVERS
        if getattr(settings, key)
    }
    file, names = stack.enter_context(CheckpointFile.open(path)), read_fixes(settings)
    pieces, done = fixes.plan(_case(file, settings, opened), names)
    add: dict[str, Any] = {}
    remove: list[str] = []
    if read_markers(settings.markers) is not None:
        add, remove = _changes(file, settings, memory.of_path(workspace, path)[1])
    kept = {name: piece for name, piece in pieces.items() if name not in remove}
    kept.update({name: Piece.made(tensor) for name, tensor in add.items()})
    if not any(done.values()) and not add and not remove:
        raise BadInput("fix", ", ".join(names), "others: there is nothing of that kind to mend")
    return _Planned(file, kept, done, list(add), remove)


def _case(file: CheckpointFile, settings: DoctorSettings, opened: dict[str, CheckpointFile]) -> Case:
    import torch

    from lib_astolfo.checkpoints import parts, sidecar
    from lib_astolfo.checkpoints.expected import lenient
    from lib_astolfo.checkpoints.fixes import Case

    layout = lenient({name: info.shape for name, info in file.tensors.items()}, str(file.path))[0]
    own = parts.PREFIXES[layout.family]
    donors = {part: opened["text_encoder"] for part in own if part in parts.TEXT and "text_encoder" in opened}
    for part in ("vae", "clip_l", "clip_g"):
        if part in opened:
            if part not in own:
                raise BadInput(part, f"for {layout.describe()}, which has none", "no such setting")
            donors[part] = opened[part]
    beside = sidecar.read(file.path)
    read = sidecar.effective(beside, layout)[1] if beside is not None else None
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}.get(settings.dtype)
    return Case(file, layout, donors, opened.get("values_from"), dtype, read)


def _copy_yaml(path: Path, target: Path) -> str:
    """The yaml beside the old file for the new one, so that it is read alike; its name, "" if there is none to copy."""
    from lib_astolfo.checkpoints.files import write_text
    from lib_astolfo.checkpoints.sidecar import path_for

    old, new = path_for(path), path_for(target)
    if not old.is_file() or new.exists():
        return ""
    write_text(new, old.read_text(encoding="utf-8"))
    return new.name


def _changes(
    file: CheckpointFile, settings: DoctorSettings, remembered: Remembered | None
) -> tuple[dict[str, Any], list[str]]:
    from lib_astolfo.checkpoints import doctor, markers
    from lib_astolfo.checkpoints.prediction import layout_of

    words = read_markers(settings.markers)
    if words == "auto":
        words = list(markers.wanted(doctor.said_of(file, remembered).sampling, layout_of(file)))
    names = [word.partition("=")[0].strip() for word in words or []]
    there = markers.present(file.tensors)
    absent = [name for name in names if name in markers.LEFTOVERS and name not in there]
    if absent:
        raise BadInput("markers", absent[0], "a marker; this one can be kept or removed, not added")
    given = [word for word, name in zip(words or [], names, strict=True) if name not in markers.LEFTOVERS]
    made = markers.parse(given)
    numbered = {word.partition("=")[0].strip() for word in given if "=" in word}
    remove = [name for name in there if name not in names or name in numbered]
    add = {name: tensor for name, tensor in made.items() if name not in there or name in numbered}
    if not add and not remove and not read_fixes(settings):
        raise BadInput("markers", ", ".join(names) or "none", "others: the file has exactly these already")
    return add, remove


def _name(target: Path, workspace: Workspace) -> str:
    for folder in workspace.host.folders.models:
        if target.is_relative_to(folder):
            return target.relative_to(folder).as_posix()
    return str(target)
