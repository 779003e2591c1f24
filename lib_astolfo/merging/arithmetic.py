"""Objective arithmetic: what a training changed, carried from one model to another, block by block.

A + w·(B - C): B was trained from C for another objective (v prediction, rectified flow, a style), A is to have it too.
The difference carries more than the objective, so it is scaled (0.1 to 0.55 in practice) and kept to the blocks that
need it. Before anything is written the norms tell what would be carried: a change that is large beside A's own weights
breaks it, one that is nearly orthogonal to A's own way from the base does not disturb what A learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lib_astolfo.checkpoints.blocks import VAE_BLOCK, component_of
from lib_astolfo.checkpoints.prediction import layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.differences import cosine, order, ratio
from lib_astolfo.merging.grams import Gram, difference, grams
from lib_astolfo.merging.ratios import Ratios
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.recipe_reading import read_blocks
from lib_astolfo.merging.workers import Progress

Mask = Mapping[str, float] | Sequence[str] | str | None


@dataclass(frozen=True)
class Carried:
    """One block.

    ``norm`` ‖A‖, ``difference`` ‖B - C‖, ``change`` ‖w·(B - C)‖, ``relative`` the change to ‖A‖, ``share`` of the
    whole change's square, ``cosine`` of B - C and A - base, ``moved`` ‖A - base‖ (None without a base or if one is
    zero).
    """

    norm: float
    difference: float
    change: float
    relative: float | None
    share: float
    cosine: float | None = None
    moved: float | None = None


@dataclass(frozen=True)
class Report:
    """``blocks`` in the layout's order; ``total`` over all, the VAE only if it is changed; ``left_out``: key to why."""

    blocks: Mapping[str, Carried]
    total: Carried
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def carry(target: str, trained: str, untrained: str, factor: float, mask: Mask = None, **more: Any) -> Recipe:
    """The recipe target + factor·mask·(trained - untrained).

    Args:
        target: checkpoint A, which is changed.
        trained, untrained: checkpoints B and C; B was trained from C.
        factor: w; 1 carries the whole difference.
        mask: blocks that are carried, each with its share of ``factor`` (as a recipe's ``blocks``), or a list of
            names of blocks, ranges and parts; None for all. What is not named stays A's; the VAE does unless named.
        more: further fields of the recipe (dtype, output, options, …).

    Raises:
        BadInput: an unknown block, or a factor that is no number.
    """
    models = {"a": target, "b": trained, "c": untrained}
    if mask is None:
        return Recipe("add_difference", models, ratio=factor, **more)
    blocks = {name: share * factor for name, share in read_mask(mask).items()}
    return Recipe("add_difference", models, blocks=blocks, **more)


def read_mask(mask: Mask) -> dict[str, float]:
    """Block to share from any way to write a mask. Errors: BadInput."""
    if isinstance(mask, Sequence) and not isinstance(mask, str) and all(isinstance(name, str) for name in mask):
        return {name.strip().upper(): 1.0 for name in mask if isinstance(name, str)}
    return dict(read_blocks(mask, "mask"))


def report(
    recipe: Recipe,
    files: Mapping[str, CheckpointFile],
    base: CheckpointFile | None = None,
    *,
    threads: int = 2,
    progress: Progress | None = None,
) -> Report:
    """What the recipe of ``carry`` carries, by block.

    ``files``: its checkpoints by name; ``base``: where A's own way began.
    Raises BadInput if they have nothing in common, Failed on I/O.
    """
    a, b, c = (files[str(recipe.models[slot])] for slot in "abc")
    opened = [a, b, c] if base is None else [a, b, c, base]
    layout = layout_of(a)
    shared, left_out = [], dict[str, str]()
    for name, info in a.tensors.items():
        if component_of(name) == "other" or not info.dtype.is_floating_point or not info.elements:
            continue
        fits = [name in file.tensors and file.tensors[name].shape == info.shape for file in opened]
        if all(fits):
            shared.append(name)
        else:
            left_out[name] = f"not in {opened[fits.index(False)].path.name} in this shape"
    if not shared:
        raise BadInput(recipe.describe(), "no weight in common", "models of one layout")
    rows = [{0: 1.0}, difference(1, 2), difference(0, 3) if base is not None else {}]
    ratios, sums = Ratios(recipe, layout), {block: _Sum() for block in (*order(layout), "")}
    for name, gram in grams(opened, rows, shared, threads=threads, progress=progress).items():
        if not gram.finite:
            left_out[name] = "values that are not finite"
            continue
        block, w = ratios.block(name), ratios.of(name) or 0.0
        sums[block].add(gram, w)
        if block != VAE_BLOCK or w:
            sums[""].add(gram, w)
    whole = sums[""].change
    blocks = {block: one.carried(whole, base is not None) for block, one in sums.items() if block and one.elements}
    return Report(blocks, sums[""].carried(whole, base is not None), left_out)


class _Sum:
    """Inner products of A, B - C and A - base over some keys, and the square of what is carried there."""

    def __init__(self) -> None:
        self.gram = Gram.empty(3)
        self.change = 0.0

    @property
    def elements(self) -> int:
        return self.gram.elements

    def add(self, gram: Gram, w: float) -> None:
        self.gram += gram
        self.change += w * w * float(gram.products[1, 1])

    def carried(self, whole: float, based: bool) -> Carried:
        p, change = self.gram.products.tolist(), math.sqrt(self.change)
        return Carried(
            norm=math.sqrt(p[0][0]),
            difference=math.sqrt(p[1][1]),
            change=change,
            relative=ratio(change, math.sqrt(p[0][0])),
            share=self.change / whole if whole else 0.0,
            cosine=cosine(p[1][2], p[1][1], p[2][2]) if based else None,
            moved=math.sqrt(p[2][2]) if based else None,
        )
