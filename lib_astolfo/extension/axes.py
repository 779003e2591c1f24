"""What the xyz axes of a merge mean: a change of the recipe that stands, or of a weighted sum with the loaded model.

Those of a training lay one of its snapshots, at a ratio, on the model, or on the recipe that stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.webui.xyz import EPOCH, MERGE_BLOCKS, MERGE_MODEL, MERGE_RATIO, TRAINING_RATIO

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.merging.lora.use import LoraUse
    from lib_astolfo.merging.recipe import Recipe

    Trained = Callable[[str, str, float], Mapping[str, Any]]

HALF = 0.5
"""The ratio of a weighted sum of which an axis gives model B alone."""
OF_TRAININGS = (EPOCH, TRAINING_RATIO)


def changed(base: Recipe | None, changes: Mapping[str, Any], loaded: str, trained: Trained | None = None) -> Recipe:
    """The recipe of one cell. ``changes``: ratio, model B, blocks, snapshot and its ratio. ``loaded``: A without a
    recipe. ``trained``: the recipe of a base with a snapshot at a ratio, see ``train_after.recipe_on``.

    Errors: BadInput naming the axis.
    """
    found = {name: _value(name, value) for name, value in changes.items()}
    if MERGE_RATIO in found and base is not None and len(base.models) < 2 and _snapshot_in(base) is not None:
        found.setdefault(TRAINING_RATIO, found.pop(MERGE_RATIO))  # which has no other ratio
    merge = {name: value for name, value in found.items() if name not in OF_TRAININGS}
    if len(merge) == len(found):
        return _merged(base, merge, loaded)
    return _with_training(_merged(base, merge, loaded) if merge else base, found, loaded, trained)


def _with_training(base: Recipe | None, found: Mapping[str, Any], loaded: str, trained: Trained | None) -> Recipe:
    """With another snapshot or another weight of the one that is in the recipe; with a snapshot on top of it else."""
    from lib_astolfo.merging.lora.use import LoraUse
    from lib_astolfo.merging.recipe import Recipe

    use = None if base is None else _snapshot_in(base)
    name = found.get(EPOCH) or (use.file if use is not None else "")
    ratio = found.get(TRAINING_RATIO, use.weight if use is not None else 1.0)
    if not name or trained is None:
        expected = f"a training that has the model, a recipe with a snapshot of one, or a second axis {EPOCH}"
        raise BadInput(TRAINING_RATIO, "no snapshot of a training", expected)
    alone = Recipe.from_dict(trained(loaded if base is None else str(base.models["a"]), name, ratio))
    if base is None or (base.method == alone.method and [one.file for one in base.loras] == [getattr(use, "file", "")]):
        return alone
    changed_use = LoraUse(name, ratio)
    loras = [changed_use if one is use else one for one in base.loras]
    return replace(base, loras=tuple(loras if use is not None else [*loras, changed_use]))


def _snapshot_in(recipe: Recipe) -> LoraUse | None:
    from lib_astolfo.commands.train_after import is_snapshot

    return next((use for use in recipe.loras if is_snapshot(use.file)), None)


def _merged(base: Recipe | None, found: Mapping[str, Any], loaded: str) -> Recipe:
    from lib_astolfo.merging.recipe import Recipe

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
    if name in (MERGE_RATIO, TRAINING_RATIO):
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
        if name == EPOCH:
            trained(workspace, "", value, 1.0)


def snapshots(workspace: Workspace) -> list[str]:
    """Of all trainings, the last written training first."""
    from lib_astolfo.commands import train_runs

    return [run.name_of(path) for run in train_runs.listing(workspace) for path in run.snapshots]


def trained(workspace: Workspace, base: str, name: str, ratio: float) -> dict[str, Any]:
    """A base with a snapshot: by its name, ``RUN`` (the last one) or ``RUN/STEP``. Errors: BadInput naming the axis."""
    from lib_astolfo.commands import train_after, train_runs

    word, _, which = name.strip().replace("\\", "/").partition("/")
    try:
        run = train_runs.find(workspace, word)
        return train_after.recipe_on(workspace, base, run.name_of(train_after.snapshot(run, which)), ratio)
    except BadInput as error:
        raise BadInput(EPOCH, error.found, error.expected) from error
