"""``doctor``: what a checkpoint is, how each WebUI reads it, and its marker keys set right."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import memory
from .outputs import checkpoint_target

if TYPE_CHECKING:
    from lib_astolfo.checkpoints.memory import Remembered
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.jobs import Task

    from .workspace import Workspace

SHOWN = 5  # names of tensors in a line of the terminal


@dataclass(frozen=True)
class DoctorSettings:
    """What to examine; with ``markers`` one checkpoint is written again with exactly these marker keys."""

    model: str = ""  # a checkpoint
    models: list[str] = field(default_factory=list)  # several; without any: all of the models folders
    check_values: bool = False  # read every number and name the tensors with NaN or infinite values
    markers: Any = None  # [v_pred, ztsnr], none, or auto: those that fit the prediction; empty: nothing is written
    output: str = ""  # name of the file with these markers; empty: the file itself, with overwrite
    overwrite: bool = False  # an existing file, or the checkpoint itself, may be replaced


def check(settings: DoctorSettings, workspace: Workspace) -> DoctorSettings:
    """Refuse names that are not there and markers that cannot be or would mislead. Errors: BadInput."""
    if settings.model and settings.models:
        raise BadInput("models", "beside model", "one of the two")
    names = [settings.model] if settings.model else list(settings.models)
    for name in names:
        _resolve(name, workspace)
    words = read_markers(settings.markers)
    if words is None:
        for key in ("output", "overwrite"):
            if getattr(settings, key):
                raise BadInput(key, getattr(settings, key), "markers beside it, else nothing is written")
    else:
        if len(names) != 1:
            raise BadInput("model", f"{len(names)} checkpoints", "one whose markers are to be written")
        path = _resolve(names[0], workspace)
        _target(settings, path, workspace)
        _check_changes(path, settings, workspace)
    return replace(settings, model="", models=names)


def read_markers(value: Any) -> list[str] | str | None:
    """Words for the markers, "auto", [] for none, None where nothing is to be written. Errors: BadInput."""
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


def _resolve(name: str, workspace: Workspace) -> Path:
    try:
        return workspace.resolve(name)
    except BadInput as error:
        raise BadInput("models", error.found, error.expected) from error


def _target(settings: DoctorSettings, path: Path, workspace: Workspace) -> Path:
    if settings.output:
        return checkpoint_target(workspace, settings.output, overwrite=settings.overwrite)
    if not settings.overwrite:
        raise BadInput("output", "nothing", "the name of a new file, or overwrite=true to change this one")
    return path


def run(settings: DoctorSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Examine, and write if asked to; ``reports`` has one entry for each checkpoint, ``written`` the new file.

    A file that is no checkpoint has a ``problem`` and nothing else. Errors: BadInput, Failed.
    """
    settings = check(settings, workspace)
    if read_markers(settings.markers) is not None:
        path = _resolve(settings.models[0], workspace)
        written = write(path, settings, workspace, task)
        report = _report(written["name"], Path(written["output"]), settings, workspace, task)
        return {"reports": [report], "written": written}
    names = settings.models or [entry.name for entry in workspace.host.checkpoints()]
    reports = []
    for place, name in enumerate(names):
        if not settings.check_values:
            task.progress(place, len(names), name)
        reports.append(_report(name, _resolve(name, workspace), settings, workspace, task))
        task.event(f"{name}: {reports[-1]['problem'] or reports[-1]['prediction']['words']}")
    return {"reports": reports, "written": None}


def _report(name: str, path: Path, settings: DoctorSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    from lib_astolfo.checkpoints import doctor, values
    from lib_astolfo.checkpoints.reader import CheckpointFile

    known, remembered = memory.of_path(workspace, path)
    head = {"name": name, "short_hash": known, "values": None}
    try:
        with CheckpointFile.open(path) as file:
            report = {**head, **doctor.examine(file, remembered)}
            if settings.check_values:
                found = values.check(file, task.progress)
                report["values"] = {"checked": found.checked, "nan": found.nan, "infinite": found.infinite}
            return report
    except BadInput as error:
        return {**head, "problem": str(error)}


def _check_changes(path: Path, settings: DoctorSettings, workspace: Workspace) -> None:
    from lib_astolfo.checkpoints import markers
    from lib_astolfo.checkpoints.reader import CheckpointFile

    with CheckpointFile.open(path) as file:
        markers.check(file, *_changes(file, settings, memory.of_path(workspace, path)[1]))


def write(path: Path, settings: DoctorSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Write the checkpoint with its new markers; what was added and removed. What is remembered for the old hash is
    remembered for the new one too. Errors: BadInput, Failed."""
    from lib_astolfo.checkpoints import markers
    from lib_astolfo.checkpoints.reader import CheckpointFile

    target = _target(settings, path, workspace)
    remembered = memory.of_path(workspace, path)[1]
    with CheckpointFile.open(path) as file:
        add, remove = _changes(file, settings, remembered)
    markers.rewrite(path, target, add, remove, overwrite=settings.overwrite, progress=task.progress)
    result = {"output": str(target), "name": _name(target, workspace), "added": list(add), "removed": remove}
    if remembered is not None:
        with CheckpointFile.open(target) as file:
            short_hash = file.sha256(task.progress)[:10]
        workspace.memory.remember(short_hash, replace(remembered, name=target.name), target)
        result["remembered"] = short_hash
    task.event(f"{target.name}: added {', '.join(add) or 'nothing'}, removed {', '.join(remove) or 'nothing'}")
    return result


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
    if not add and not remove:
        raise BadInput("markers", ", ".join(names) or "none", "others: the file has exactly these already")
    return add, remove


def _name(target: Path, workspace: Workspace) -> str:
    for folder in workspace.host.folders.models:
        if target.is_relative_to(folder):
            return target.relative_to(folder).as_posix()
    return str(target)


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    lines = []
    if result["written"] is not None:
        done = result["written"]
        lines.append(f"{done['output']}: added {_names(done['added'])}, removed {_names(done['removed'])}")
    for report in result["reports"]:
        lines += ["", report["name"], *(f"  {line}" for line in _lines(report))]
    return "\n".join(lines).strip("\n")


def _lines(report: dict[str, Any]) -> list[str]:
    if "layout" not in report:
        return [report["problem"]]
    dtypes = ", ".join(f"{count} {name}" for name, count in report["dtypes"].items())
    lines = [f"{report['layout']}, {report['size'] / 1e6:.1f} MB, {report['tensors']} tensors ({dtypes})"]
    if "prediction" in report:
        lines += _said_lines(report)
    if report["values"] is not None:
        for what in ("nan", "infinite"):
            lines.append(f"{what} values in: {_names(list(report['values'][what]))}")
    if report["unknown"]:
        lines.append(f"tensors of no block: {_names(report['unknown'])}")
    return [*lines, *([report["problem"]] if report["problem"] else [])]


def _said_lines(report: dict[str, Any]) -> list[str]:
    said, yaml = report["prediction"], report["yaml"]
    lines = [f"prediction: {said['words']} ({said['source']})"]
    lines += [f"  {one['source']}: {one['says']}" for one in said["says"]]
    if report["uncond"] is not None:
        lines.append(f"uncond: {report['uncond']['mode']}")
    lines.append(f"marker keys: {_names(report['markers']['found'])}")
    lines += [f"  {name} is stray: {why}" for name, why in report["markers"]["stray"].items()]
    belongs = "" if yaml["belongs"] else ", of another network"
    lines.append(f"yaml: {yaml['key']} says {yaml['value']}{belongs}" if yaml["present"] else "yaml: none")
    for host in report["hosts"]:
        terminal = " ZTSNR" if host["zero_terminal_snr"] else ""
        lines.append(f"{host['host']}: {host['prediction'] or 'does not load'}{terminal} ({host['because']})")
    return [*lines, *(f"note: {note}" for note in report["notes"]), *(f"advice: {one}" for one in report["advice"])]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
