"""The header of a merged file: A's metadata, how to make the file again, and how to sample it."""

from __future__ import annotations

from dataclasses import replace

from lib_astolfo.checkpoints import metadata
from lib_astolfo.checkpoints.digests import Digest
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.merging.plan import Plan, first_file
from lib_astolfo.merging.recipes import MECHA, a1111, a1111_write
from lib_astolfo.merging.workers import Progress

WHOLE = 64  # digits of a sha256

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

    ``hashes`` puts the sha256 of every input into the recipe, which then refuses other files of these names. A recipe
    with the hashes of all its checkpoints also gives the entries by which A1111 and others know a merge.
    ``digest`` gives a file's sha256.
    """
    recipe = plan.recipe
    known = recipe.all_hashes()
    if hashes:
        known = {name: digest(file, progress) for name, file in plan.files.items()}
        recipe = replace(recipe, hashes=known)
    whole = all(len(known.get(name, "")) == WHOLE for name in recipe.files())
    others = a1111_write.entries(recipe, plan.files, known, plan.layout) if whole else {}
    carried = {key: text for key, text in plan.files[first_file(recipe)].metadata.items() if key not in STALE}
    built = metadata.build(plan.layout, sampling=plan.sampling, uncond=plan.uncond, recipe=recipe.to_yaml())
    return {**carried, **built, **others}
