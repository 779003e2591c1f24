"""``sd_merge_recipe`` and ``sd_merge_models`` for the header of a merged file, as A1111 and others read them.

A1111 (modules/sd_models.py, ``read_metadata_from_safetensors``) takes texts that begin with ``{`` for JSON, shows
them, and copies both entries into what it merges from the file (modules/extras.py:294-302); so our own recipe, which
stands in ``recipe``, comes down to later generations too. Nothing here depends on time, folders or the name of the
result: equal recipes over equal files give equal entries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import Recipe

from .a1111 import METHODS, MODELS, RECIPE, entry_points
from .a1111_gaps import Entry

_INTERPOLATIONS = {method: name for name, method in METHODS.items()}
_OLD_HASH_AT, _OLD_HASH_LENGTH = 0x100000, 0x10000


def entries(
    recipe: Recipe, files: Mapping[str, CheckpointFile], hashes: Mapping[str, str], layout: Layout
) -> dict[str, str]:
    """The two header entries of a merge.

    Args:
        recipe: what was merged.
        files: checkpoint name to open file.
        hashes: checkpoint name to its whole sha256.
        layout: of the result.
    """
    models: dict[str, Any] = {}
    for name in recipe.files():
        file = files[name]
        own, older = _past(file)
        models[hashes[name]] = _entry(Entry(hashes[name], name, legacy_hash(file), own))
        for digest, entry in older.items():
            models.setdefault(digest, _entry(entry))
    return {RECIPE: _json(_recipe(recipe, hashes, layout)), MODELS: _json(models)}


def _recipe(recipe: Recipe, hashes: Mapping[str, str], layout: Layout) -> dict[str, Any]:
    def of(slot: str) -> str | None:
        model = recipe.models.get(slot)
        return hashes[model] if isinstance(model, str) else None

    return {
        "type": "astolfo",
        "primary_model_hash": of("a"),
        "secondary_model_hash": of("b"),
        "tertiary_model_hash": of("c"),
        "interp_method": _INTERPOLATIONS.get(recipe.method, recipe.method),
        "multiplier": recipe.ratio if isinstance(recipe.ratio, int | float) else None,
        "save_as_half": recipe.dtype == "fp16",
        "custom_name": "",
        "config_source": 0,
        "bake_in_vae": "None",
        "discard_weights": "",
        "is_inpainting": layout.kind == "inpainting",
        "is_instruct_pix2pix": layout.kind == "pix2pix",
        "models": {name: hashes[name] for name in recipe.files()},
        "recipe": recipe.to_yaml(),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    recipe = dict(entry.recipe) if entry.recipe is not None else None
    return {"name": entry.name, "legacy_hash": entry.legacy_hash or None, RECIPE: recipe}


def _past(file: CheckpointFile) -> tuple[dict[str, Any] | None, dict[str, Entry]]:
    """The recipe and models in a file's own header; none if they cannot be read: they are other programs' notes."""
    try:
        return entry_points(file.metadata, str(file.path))
    except BadInput:
        return None, {}


def legacy_hash(file: CheckpointFile) -> str:
    """A1111's old short hash: of 64 KiB from the first MiB on (modules/sd_models.py, ``model_hash``); 8 digits."""
    length = max(0, min(_OLD_HASH_LENGTH, file.identity()[2] - _OLD_HASH_AT))
    buffer = bytearray(length)
    if length:
        file.read_into(buffer, _OLD_HASH_AT)
    return hashlib.sha256(buffer).hexdigest()[:8]


def text(recipe: Recipe) -> str:
    """A recipe as the text of ``sd_merge_recipe`` alone, with the hashes it names."""
    hashes = recipe.all_hashes()
    named = {name: hashes.get(name, "") for name in recipe.files()}
    return _json(_recipe(recipe, named, Layout("sdxl")))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
