"""Several models beside each other: how long each one's way from a base is, and which way they went.

Before a merge of many models it tells which agree (cosine near 1: an average keeps their change), which have nothing to
do with each other (near 0: an average of n shrinks each change to 1/n), and which oppose each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib_astolfo.checkpoints.blocks import block_of, component_of
from lib_astolfo.checkpoints.prediction import layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.differences import cosine, order
from lib_astolfo.merging.grams import Gram, difference, grams
from lib_astolfo.merging.workers import Progress

Matrix = list[list[float | None]]


@dataclass(frozen=True)
class Relations:
    """``models`` in order. ``norms``: ‖model - base‖ of each; ``cosines`` of these differences and ``distances``
    ‖model i - model j‖, [n][n], 1 and 0 on the diagonal; ``blocks``: block to norms and cosines there.

    ``left_out``: key to why it is in no sum.
    """

    base: str
    models: tuple[str, ...]
    norms: list[float]
    cosines: Matrix
    distances: Matrix
    blocks: Mapping[str, dict[str, Any]]
    left_out: Mapping[str, str] = field(default_factory=dict)


def relate(
    models: Mapping[str, CheckpointFile],
    base: tuple[str, CheckpointFile],
    *,
    threads: int = 2,
    progress: Progress | None = None,
) -> Relations:
    """Compare two or more models' differences from one base, over the weights that all of them have.

    Raises BadInput for fewer than two models, or nothing in common; Failed on I/O.
    """
    if len(models) < 2:
        raise BadInput("models", f"{len(models)} beside the base", "two or more")
    name, first = base
    files = [first, *models.values()]
    layout = layout_of(first)
    shared, left_out = _shared(first, models)
    if not shared:
        raise BadInput("models", "no weight in common", f"models of one layout, as {name} is")
    rows = [difference(index, 0) for index in range(1, len(files))]
    found = grams(files, rows, shared, threads=threads, progress=progress)
    blocks: dict[str, Gram] = {block: Gram.empty(len(models)) for block in order(layout)}
    for key, gram in found.items():
        if gram.finite:
            blocks[block_of(key, layout)] += gram
        else:
            left_out[key] = "values that are not finite"
    total = Gram.empty(len(models))
    for gram in blocks.values():
        total += gram
    return Relations(
        base=name,
        models=tuple(models),
        norms=_norms(total),
        cosines=_cosines(total),
        distances=_distances(total),
        blocks={
            block: {"norms": _norms(gram), "cosines": _cosines(gram)} for block, gram in blocks.items() if gram.elements
        },
        left_out=left_out,
    )


def _shared(first: CheckpointFile, models: Mapping[str, CheckpointFile]) -> tuple[list[str], dict[str, str]]:
    shared: list[str] = []
    left_out: dict[str, str] = {}
    for key, info in first.tensors.items():
        if component_of(key) == "other" or not info.dtype.is_floating_point or not info.elements:
            continue
        lacking = [name for name, file in models.items() if key not in file.tensors]
        other = [name for name in models if name not in lacking and models[name].tensors[key].shape != info.shape]
        if lacking or other:
            left_out[key] = f"not in {', '.join(lacking)}" if lacking else f"of another shape in {', '.join(other)}"
        else:
            shared.append(key)
    return shared, left_out


def _norms(gram: Gram) -> list[float]:
    return [math.sqrt(max(0.0, float(value))) for value in gram.products.diagonal()]


def _cosines(gram: Gram) -> Matrix:
    p = gram.products.tolist()
    return [[cosine(p[i][j], p[i][i], p[j][j]) for j in range(len(p))] for i in range(len(p))]


def _distances(gram: Gram) -> Matrix:
    """‖(i - base) - (j - base)‖ from the inner products."""
    p = gram.products.tolist()
    return [[math.sqrt(max(0.0, p[i][i] + p[j][j] - 2 * p[i][j])) for j in range(len(p))] for i in range(len(p))]
