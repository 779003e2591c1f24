"""The header of a merged file: A's metadata, how to make the file again, and how to sample it."""

from __future__ import annotations

from dataclasses import replace

from lib_astolfo.checkpoints import metadata
from lib_astolfo.checkpoints.digests import Digest
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.merging.plan import Plan, first_file
from lib_astolfo.merging.recipes import MECHA, a1111, a1111_write
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
    a1111.RECIPE,
    a1111.MODELS,
    MECHA,
)


def entries(
    plan: Plan,
    *,
    hashes: bool = False,
    progress: Progress | None = None,
    digest: Digest = CheckpointFile.sha256,
) -> dict[str, str]:
    """Header entries of the result; the same for every run.

    ``hashes`` puts the sha256 of every input into the recipe, which then refuses other files of these names, and adds
    the entries by which A1111 and others know a merge. ``digest`` gives a file's sha256.
    """
    recipe = plan.recipe
    others: dict[str, str] = {}
    if hashes:
        recipe = replace(recipe, hashes={name: digest(file, progress) for name, file in plan.files.items()})
        others = a1111_write.entries(recipe, plan.files, recipe.hashes, plan.layout)
    carried = {key: text for key, text in plan.files[first_file(recipe)].metadata.items() if key not in STALE}
    built = metadata.build(plan.layout, sampling=plan.sampling, uncond=plan.uncond, recipe=recipe.to_yaml())
    return {**carried, **built, **others}
