"""The header of a merged file: A's metadata, how to make the file again, and how to sample it."""

from __future__ import annotations

from dataclasses import replace

from lib_astolfo.checkpoints import metadata
from lib_astolfo.merging.plan import Plan, first_file
from lib_astolfo.merging.workers import Progress

#: Entries of A that are not true of the result.
STALE = (
    "modelspec.hash_sha256",
    "modelspec.date",
    "modelspec.title",
    "sshs_model_hash",
    "sshs_legacy_hash",
    metadata.PREDICTION_TYPE,
    metadata.SAMPLING,
    metadata.UNCOND,
    metadata.RECIPE,
)


def entries(plan: Plan, *, hashes: bool = False, progress: Progress | None = None) -> dict[str, str]:
    """Header entries of the result; the same for every run.

    ``hashes`` puts the sha256 of every input into the recipe, which then refuses other files of these names.
    """
    recipe = plan.recipe
    if hashes:
        recipe = replace(recipe, hashes={name: file.sha256(progress) for name, file in plan.files.items()})
    carried = {key: text for key, text in plan.files[first_file(recipe)].metadata.items() if key not in STALE}
    built = metadata.build(plan.layout, sampling=plan.sampling, uncond=plan.uncond, recipe=recipe.to_yaml())
    return {**carried, **built}
