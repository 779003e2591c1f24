"""What a checkpoint predicts, by a stated order of trust."""

from __future__ import annotations

from dataclasses import dataclass

from lib_astolfo.checkpoints.layout import detect
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond


@dataclass(frozen=True)
class Identified:
    """``sampling`` and ``uncond`` of a checkpoint, the ``source`` that said so, ``notes`` on what disagreed."""

    sampling: Sampling
    uncond: Uncond | None = None
    source: str = "layout"
    notes: tuple[str, ...] = ()


def identify(file: CheckpointFile) -> Identified:
    """What this checkpoint predicts."""
    detect({name: info.shape for name, info in file.tensors.items()}, str(file.path))
    return Identified(Sampling())
