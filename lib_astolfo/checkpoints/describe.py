"""A checkpoint in plain values, for people and for JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lib_astolfo.checkpoints.blocks import OTHER, block_of
from lib_astolfo.checkpoints.dtypes import CODES
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.prediction import identify, layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile


def describe(file: CheckpointFile) -> dict[str, Any]:
    """What a checkpoint is; nothing but the header, its sidecar and at most one small tensor is read.

    Keys: path, bytes, tensors, parameters, layout, family, kind, has_vae, blocks (tensors in each), dtypes (tensors of
    each), sampling, uncond, source, notes, metadata (names only), unknown (tensors that belong to no block).
    Raises BadInput if the file is no whole checkpoint.
    """
    layout = layout_of(file)
    identified = identify(file, layout)
    return {
        **header(file, layout),
        "sampling": identified.sampling.to_dict(),
        "uncond": None if identified.uncond is None else identified.uncond.to_dict(),
        "source": identified.source,
        "notes": list(identified.notes),
    }


def header(file: CheckpointFile, layout: Layout) -> dict[str, Any]:
    """The part of ``describe`` that the header alone tells."""
    blocks = Counter(block_of(name, layout) for name in file.tensors)
    return {
        "path": str(file.path),
        "bytes": file.identity()[2],
        "tensors": len(file.tensors),
        "parameters": sum(info.elements for info in file.tensors.values()),
        "layout": layout.describe(),
        "family": layout.family,
        "kind": layout.kind,
        "has_vae": layout.has_vae,
        "blocks": dict(blocks),
        "dtypes": dict(Counter(CODES[info.dtype] for info in file.tensors.values())),
        "metadata": sorted(file.metadata),
        "unknown": sorted(name for name in file.tensors if block_of(name, layout) == OTHER),
    }
