"""What the xyz axes of a merge mean: a change of the recipe that stands, or of a weighted sum with the loaded model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.webui.xyz import MERGE_BLOCKS, MERGE_MODEL, MERGE_RATIO

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.merging.recipe import Recipe

HALF = 0.5
"""The ratio of a weighted sum of which an axis gives model B alone."""


def changed(base: Recipe | None, changes: Mapping[str, Any], loaded: str) -> Recipe:
    """The recipe of one cell. ``changes``: ratio, model B, blocks. ``loaded``: A of the sum without a recipe.

    Errors: BadInput naming the axis.
    """
    from lib_astolfo.merging.recipe import Recipe

    found = {name: _value(name, value) for name, value in changes.items()}
    if base is None:
        if MERGE_MODEL not in found:
            expected = f"a recipe that stands (PUT /live, the panel's field), or a second axis {MERGE_MODEL}"
            raise BadInput(", ".join(found), "no recipe and no model B", expected)
        ratio = found.get(MERGE_RATIO, None if MERGE_BLOCKS in found else HALF)
        models = {"a": loaded, "b": found[MERGE_MODEL]}
        return Recipe("weighted_sum", models, ratio, found.get(MERGE_BLOCKS), dtype="keep")
    if MERGE_MODEL in found:
        if "b" not in base.models:
            raise BadInput(MERGE_MODEL, found[MERGE_MODEL], f"a recipe with a model b; {base.describe()} has none")
        base = _with_model(base, found[MERGE_MODEL])
    if MERGE_BLOCKS in found:
        base = replace(base, blocks=found[MERGE_BLOCKS])
    return _with_ratio(base, found[MERGE_RATIO]) if MERGE_RATIO in found else base


def _with_model(recipe: Recipe, name: str) -> Recipe:
    """With another model B; the hashes of the others stay."""
    other = replace(recipe, models={**recipe.models, "b": name}, hashes={})
    hashes = {file: digest for file, digest in recipe.hashes.items() if file in other.files() and file != name}
    return replace(other, hashes=hashes)


def _with_ratio(recipe: Recipe, ratio: float) -> Recipe:
    from lib_astolfo.checkpoints.blocks import BLOCKS

    named = set(recipe.blocks or ())
    if any(set(blocks) <= named for blocks in BLOCKS.values()):
        raise BadInput(MERGE_RATIO, f"{ratio:g}, and ratios of all blocks", "blocks that leave something to the ratio")
    return recipe.with_ratio(ratio)


def _value(name: str, value: Any) -> Any:
    if name == MERGE_RATIO:
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise BadInput(name, repr(value), "a finite number")
        return float(value)
    if name == MERGE_BLOCKS:
        return read_blocks(value)
    return value


def read_blocks(text: str) -> dict[str, float]:
    """Block ratios of a cell: 20 or 26 numbers, ``IN00: 0.3, M00: 0.5``, or a preset's name. Errors: BadInput."""
    import yaml

    from lib_astolfo.merging.recipe import read_blocks as read

    value: Any = text
    if ":" in text:
        try:
            value = yaml.safe_load(text if text.lstrip().startswith("{") else "{" + text + "}")
        except yaml.YAMLError as error:
            raise BadInput(MERGE_BLOCKS, repr(text), "NAME: RATIO, as IN00: 0.3, M00: 0.5") from error
    return dict(read(value, MERGE_BLOCKS))


def check(workspace: Workspace, name: str, values: Sequence[Any]) -> None:
    """Refuse a bad value before the first picture is drawn. Errors: BadInput."""
    for value in values:
        _value(name, value)
        if name == MERGE_MODEL:
            workspace.resolve(value)
