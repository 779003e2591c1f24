"""The folders of trainings, in ``training`` of the outputs: which there are, how far they came, what can be done."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Over, Unknown

if TYPE_CHECKING:
    from .workspace import Workspace

SETTINGS, REPORT, SNAPSHOTS, CHECKPOINTS = "settings.yaml", "report.json", "snapshots", "checkpoints"
HIDDEN = (CHECKPOINTS, "cache")  # folders of a run whose files are nobody's to fetch


@dataclass(frozen=True)
class TrainingFolder:
    """One run on the disk. ``name``: its folder's."""

    name: str
    path: Path

    @property
    def settings(self) -> dict[str, Any]:
        """As they were written when it began. Errors: BadInput when they cannot be read."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError

        path = self.path / SETTINGS
        try:
            values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            raise BadInput(path, " ".join(str(error).split())[:200], "the settings of a run") from error
        if not isinstance(values, dict):
            raise BadInput(path, f"a {type(values).__name__}", "the settings of a run")
        return {str(name): value for name, value in values.items()}

    @property
    def report(self) -> dict[str, Any]:
        """What the run has written at its last end; {} before that."""
        with suppress(OSError, ValueError):
            found = json.loads((self.path / REPORT).read_text("utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    @property
    def step(self) -> int:
        """Of the last checkpoint; 0 without one."""
        with suppress(OSError, ValueError, IndexError):
            return int((self.path / CHECKPOINTS / "latest").read_text("utf-8").strip().split("-")[1])
        return 0

    @property
    def snapshots(self) -> list[Path]:
        """Oldest first."""
        with suppress(OSError):
            return sorted((self.path / SNAPSHOTS).glob("*.safetensors"), key=lambda path: (step_of(path), path.name))
        return []

    def name_of(self, path: Path) -> str:
        """What a recipe calls one of its snapshots."""
        return f"{self.name}/{path.relative_to(self.path).as_posix()}"


def step_of(path: Path) -> int:
    """The last number in a snapshot's name."""
    digits = "".join(sign if sign.isdigit() else " " for sign in path.stem).split()
    return int(digits[-1]) if digits else 0


def place(workspace: Workspace, name: str) -> Path:
    """The folder of a run of this name, there or not. Errors: BadInput for a name that no folder may have."""
    from lib_astolfo.hosts.standalone.paths import check_name

    try:
        parts = check_name(name)
    except BadInput as error:
        raise BadInput("name", error.found, "a name that a folder can have") from error
    if len(parts) != 1 or parts[0].startswith("."):
        raise BadInput("name", repr(name), "one word or several, without / and without a dot at the start")
    return workspace.trainings / parts[0]


def listing(workspace: Workspace) -> list[TrainingFolder]:
    """All runs, the last written first."""
    with suppress(OSError):
        found = [path for path in workspace.trainings.iterdir() if (path / SETTINGS).is_file()]
        found.sort(key=lambda path: (path / SETTINGS).stat().st_mtime_ns, reverse=True)
        return [TrainingFolder(path.name, path) for path in found]
    return []


def find(workspace: Workspace, word: str, where: str = "training") -> TrainingFolder:
    """A run by its name, or by the id of a job that has trained it. Errors: Unknown."""
    name = word.strip()
    with suppress(BadInput):
        job = workspace.jobs.get(name)
        if job.kind == "train":
            name = str((job.result or {}).get("name") or job.settings.get("resume") or job.settings.get("name") or "")
    with suppress(BadInput):
        path = place(workspace, name)
        if (path / SETTINGS).is_file():
            return TrainingFolder(path.name, path)
    known = ", ".join(run.name for run in listing(workspace)[:5]) or "there is none yet"
    raise Unknown(where, repr(word), f"the name of a run, or the id of its job: {known}")


def free_name(workspace: Workspace, stem: str) -> str:
    """The first of stem-1, stem-2, … that no run has."""
    number = 1
    while (workspace.trainings / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def delete(workspace: Workspace, word: str) -> dict[str, Any]:
    """Remove a run's folder with its checkpoints and snapshots. Errors: Unknown; Over while it is trained."""
    run, active = find(workspace, word), workspace.training
    if active is not None and active.name == run.name:
        raise Over(f"training {run.name}", "it has the model", "a run that is not running: cancel its job first")
    shutil.rmtree(run.path)
    return {"deleted": run.name}


def file(workspace: Workspace, word: str, name: str) -> Path:
    """The path of one of a run's files that are there to be seen. Errors: Unknown."""
    from lib_astolfo.jobs import files

    run = find(workspace, word)
    if name.split("/")[0] in HIDDEN:
        raise Unknown("name", repr(name), "the name of one of the run's files")
    return files.find(run.path, name)


def files_of(run: TrainingFolder) -> list[str]:
    """Names of its files without checkpoints and caches."""
    from lib_astolfo.jobs import files

    return [name for name in files.listing(run.path) if name.split("/")[0] not in HIDDEN]
