"""The yaml beside a checkpoint (``model.yaml`` for ``model.safetensors``): what A1111 reads, and our own entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond


@dataclass(frozen=True)
class Sidecar:
    """``path``; ``prediction`` that A1111 reads in it (eps, v or None); ``sampling``, ``uncond`` of our own entry."""

    path: Path
    prediction: str | None = None
    sampling: Sampling | None = None
    uncond: Uncond | None = None
    family: str | None = None
    notes: tuple[str, ...] = ()
    content: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def path_for(checkpoint: str | PathLike[str]) -> Path:
    """Where the sidecar of a checkpoint is: its last ending replaced by .yaml, as A1111 does."""
    return Path(checkpoint).with_suffix(".yaml")


def read(checkpoint: str | PathLike[str]) -> Sidecar | None:
    """The sidecar of a checkpoint, or None if there is none. Raises BadInput if it cannot be understood."""
    return None if not path_for(checkpoint).exists() else Sidecar(path_for(checkpoint))


def write(
    checkpoint: str | PathLike[str],
    sampling: Sampling,
    layout: Layout,
    uncond: Uncond | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the sidecar of a checkpoint; returns its path. Raises BadInput if one is there and ``overwrite`` is not."""
    raise NotImplementedError
