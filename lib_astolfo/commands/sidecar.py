"""``sidecar``: the yaml beside a checkpoint that tells a WebUI the prediction type, and us the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import readings

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .workspace import Workspace


@dataclass(frozen=True)
class SidecarSettings:
    """What to write beside which checkpoint."""

    model: str = ""  # the checkpoint
    sampling: Any = None  # `v ztsnr`, `rf shift 3`, or a mapping; empty: as remembered, or as the file says
    uncond: Any = ""  # `null`, `average 0.7`, or a mapping; empty: as remembered, as the file says, or nothing
    overwrite: bool = False  # an existing yaml may be replaced


def run(settings: SidecarSettings, workspace: Workspace, task: Task | None = None) -> dict[str, Any]:
    """Write it; its path and what it says. Errors: BadInput, also when another yaml is there."""
    from lib_astolfo.checkpoints import sidecar
    from lib_astolfo.checkpoints.prediction import layout_of
    from lib_astolfo.checkpoints.reader import CheckpointFile

    if not settings.model:
        raise BadInput("model", "nothing", "the name of a checkpoint")
    wanted, uncond = readings.read_sampling(settings.sampling), readings.read_uncond(settings.uncond)
    path = workspace.resolve(settings.model)
    with CheckpointFile.open(path) as file:
        layout, said = layout_of(file), workspace.said(file)
    sampling, uncond = wanted or said.sampling, uncond or said.uncond
    written = sidecar.write(path, sampling, layout, uncond, overwrite=settings.overwrite)
    return {
        "sidecar": str(written),
        "sampling": sampling.to_dict(),
        "uncond": uncond.to_dict() if uncond is not None else None,
        "layout": layout.describe(),
        "notes": list(said.notes) if wanted is None else [],
    }


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    return "\n".join([result["sidecar"], f"{result['layout']}, {result['sampling']['prediction']}", *result["notes"]])
