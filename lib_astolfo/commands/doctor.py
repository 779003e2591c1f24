"""``doctor``: what a checkpoint is, how each WebUI reads it, what is wrong with it, and a mended copy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import doctor_write, memory
from .doctor_show import show
from .names import resolve_as, resolve_part

if TYPE_CHECKING:
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.jobs import Task

    from .workspace import Workspace

__all__ = ["DoctorSettings", "check", "run", "show"]


@dataclass(frozen=True)
class DoctorSettings:
    """What to examine. Findings do not change the exit code, 0. With ``fix``, ``vae``, ``text_encoder``, ``clip_l``,
    ``clip_g``, ``values_from``, ``dtype`` or ``markers`` one checkpoint is written again; its metadata are kept."""

    model: str = ""  # a checkpoint
    models: list[str] = field(default_factory=list)  # several; without any: all of the models folders
    check_values: bool = False  # read every number: NaN, infinite and extreme values, zeros, tensors unlike their kind
    identity: bool = False  # hash VAE and text encoders, and tell which checkpoints share them
    like: str = ""  # a checkpoint or a VAE's file whose parts are compared too
    fix: Any = None  # all, or some of ema_weights clip_names foreign ema unknown strays position_ids dtype
    vae: str = ""  # checkpoint or file that gives the VAE
    text_encoder: str = ""  # checkpoint that gives all text encoders
    clip_l: str = ""  # checkpoint or file that gives CLIP-L
    clip_g: str = ""  # checkpoint that gives CLIP-G
    values_from: str = ""  # checkpoint whose values stand where this one's are NaN or infinite
    dtype: str = ""  # fp16 bf16 fp32: all weights in this one; empty: as they are, with fix=dtype as most are
    markers: Any = None  # [v_pred, ztsnr], none, or auto: those that fit the prediction; empty: as they are
    output: str = ""  # name of the new file; for markers alone empty is the file itself, with overwrite
    overwrite: bool = False  # an existing file may be replaced

    def __post_init__(self) -> None:
        if self.dtype not in ("", "fp16", "bf16", "fp32"):
            raise BadInput("dtype", repr(self.dtype), "fp16, bf16 or fp32")


def check(settings: DoctorSettings, workspace: Workspace) -> DoctorSettings:
    """Refuse names that are not there, and changes that cannot be or would mislead. Errors: BadInput."""
    if settings.model and settings.models:
        raise BadInput("models", "beside model", "one of the two")
    names = [settings.model] if settings.model else list(settings.models)
    for name in names:
        resolve_as(workspace, "models", name)
    for key in ("like", *doctor_write.GIVERS):
        if getattr(settings, key):
            resolve_part(workspace, key, getattr(settings, key))
    doctor_write.check(replace(settings, model="", models=names), workspace)
    return replace(settings, model="", models=names)


def run(settings: DoctorSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Examine, and write if asked to.

    ``reports`` has one entry for each checkpoint, ``written`` what was done for the new file (with ``before``, the
    findings of the old one), ``same`` the parts that several checkpoints share. A file that is no checkpoint has a
    ``problem`` and nothing else. Errors: BadInput, Failed.
    """
    settings = check(settings, workspace)
    if doctor_write.wanted(settings):
        path = resolve_as(workspace, "models", settings.models[0])
        before = _report(settings.models[0], path, settings, workspace, task)
        written = doctor_write.write(path, settings, workspace, task)
        written["before"] = before.get("findings", [])
        report = _report(written["name"], Path(written["output"]), settings, workspace, task)
        return {"reports": [report], "written": written, "same": []}
    names = settings.models or [entry.name for entry in workspace.host.checkpoints()]
    reads, reports = settings.check_values or settings.identity or bool(settings.like), []
    for place, name in enumerate(names):
        if not reads:
            task.progress(place, len(names), name)
        reports.append(_report(name, resolve_as(workspace, "models", name), settings, workspace, task))
        task.event(f"{name}: {reports[-1]['problem'] or reports[-1]['prediction']['words']}")
    return {"reports": reports, "written": None, "same": _same(reports, settings, workspace, task)}


def _report(name: str, path: Path, settings: DoctorSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    from lib_astolfo.checkpoints import doctor
    from lib_astolfo.checkpoints.reader import CheckpointFile

    known, remembered = memory.of_path(workspace, path)
    head: dict[str, Any] = {"name": name, "short_hash": known, "values": None, "identity": None, "findings": []}
    try:
        with CheckpointFile.open(path) as file:
            report = {**head, **doctor.examine(file, remembered)}
            if settings.check_values:
                _add_values(report, file, task)
            if settings.identity or settings.like:
                report["identity"] = _identity(file, task)
            return report
    except BadInput as error:
        broken = {"severity": "error", "code": "unreadable", "text": str(error), "keys": [], "fix": ""}
        return {**head, "findings": [broken], "problem": str(error)}


def _add_values(report: dict[str, Any], file: CheckpointFile, task: Task) -> None:
    from lib_astolfo.checkpoints import checks, values
    from lib_astolfo.checkpoints.findings import SEVERITIES

    found = values.check(file, task.progress)
    report["values"] = {"checked": found.checked, "nan": found.nan, "infinite": found.infinite}
    every = [*report["findings"], *(one.to_dict() for one in checks.of_values(file, found))]
    report["findings"] = sorted(every, key=lambda one: SEVERITIES.index(one["severity"]))


def _identity(file: CheckpointFile, task: Task) -> dict[str, Any]:
    """Part to its hashes, of a checkpoint or of a part's own file."""
    from dataclasses import asdict

    from lib_astolfo.checkpoints import identity
    from lib_astolfo.checkpoints.expected import lenient

    try:
        family: str | None = lenient({name: info.shape for name, info in file.tensors.items()}, "")[0].family
    except BadInput:
        family = None
    return {part: asdict(one) for part, one in identity.identities(file, family, task.progress).items()}


def _same(
    reports: list[dict[str, Any]], settings: DoctorSettings, workspace: Workspace, task: Task
) -> list[dict[str, Any]]:
    """Parts that several of the checkpoints, and the one of ``like``, have in common."""
    from lib_astolfo.checkpoints.reader import CheckpointFile

    known = {report["name"]: report["identity"] or {} for report in reports}
    if settings.like:
        with CheckpointFile.open(resolve_part(workspace, "like", settings.like)) as file:
            known.setdefault(settings.like, _identity(file, task))
    groups: dict[tuple[str, str], list[str]] = {}
    for name, parts in known.items():
        for part, one in parts.items():
            groups.setdefault((part, one["values"]), []).append(name)
    same = []
    for (part, digest), names in groups.items():
        exact = len({known[name][part]["exact"] for name in names}) == 1
        if len(names) > 1:
            same.append({"part": part, "values": digest, "exact": exact, "models": names})
    return same
