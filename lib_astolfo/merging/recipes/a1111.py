"""A1111's merge headers: ``sd_merge_recipe`` and ``sd_merge_models``, whose entries hold the recipes of their own past.

Written by modules/extras.py:278-311 of AUTOMATIC1111/stable-diffusion-webui 1.10.1 (w-e-w 82a973c0):
``sd_merge_recipe`` is a JSON object with the models by sha256; ``sd_merge_models`` gives for every sha256 that ever
took part a name, the old short hash, and that model's own recipe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import ModelValue, Recipe

from . import spread, supermerger
from .a1111_gaps import ROLES, Entry, fill
from .reading import Notes, Reading, checkpoint_name, number

RECIPE = "sd_merge_recipe"
MODELS = "sd_merge_models"
#: interp_method to our method (extras.py:135).
METHODS = {"Weighted sum": "weighted_sum", "Add difference": "add_difference", "No interpolation": "model"}
DEEPEST = 400  # recipes in each other; more is a loop or a mistake


def entry_points(metadata: Mapping[str, Any], where: str) -> tuple[dict[str, Any] | None, dict[str, Entry]]:
    """The header's recipe (None without one) and its models by sha256. Errors: BadInput naming the key."""
    recipe = json_object(metadata.get(RECIPE), f"{where}: {RECIPE}")
    models = {}
    for sha256, value in (json_object(metadata.get(MODELS), f"{where}: {MODELS}") or {}).items():
        place = f"{where}: {MODELS}.{sha256[:10]}"
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise BadInput(place, value, "an object with a name")
        own = json_object(value.get(RECIPE), f"{place}.{RECIPE}")
        models[sha256.lower()] = Entry(sha256.lower(), value["name"], str(value.get("legacy_hash") or ""), own)
    return recipe, models


def json_object(value: Any, where: str) -> dict[str, Any] | None:
    """A JSON object, given as one or as its text; None for nothing or null."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadInput(where, "text that is not JSON", "a JSON object") from error
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise BadInput(where, f"a JSON {type(value).__name__}", "a JSON object")
    return dict(value)


def read(metadata: Mapping[str, Any], where: str = "header", *, expand: bool = True) -> Reading:
    """Our recipe for a header. Errors: BadInput naming what cannot be translated.

    ``expand``: models that were merged themselves become recipes; otherwise they are files.
    """
    recipe, models = entry_points(metadata, where)
    if recipe is None:
        raise BadInput(f"{where}: {RECIPE}", "nothing", "the recipe that A1111 writes into a merged file")
    builder = _Builder(where, models, expand, fill(recipe, models))
    made = builder.recipe(recipe, f"{where}: {RECIPE}", ())
    hashes = {name: digest for name, digest in builder.names.items() if name in made.files()}
    return Reading("a1111", replace(made, hashes=hashes), builder.all_notes(), hashes)


class _Builder:
    def __init__(
        self, where: str, models: Mapping[str, Entry], expand: bool, gaps: Mapping[tuple[str, str], str]
    ) -> None:
        self.where = where
        self.models = models
        self.expand = expand
        self.gaps = gaps
        self.notes = Notes()
        self.names: dict[str, str] = {}  # checkpoint name to sha256
        self._made: dict[str, ModelValue] = {}
        self._vaes: dict[str, list[str]] = {}

    def recipe(self, given: Mapping[str, Any], place: str, above: tuple[str, ...]) -> Recipe:
        """The recipe of one merge. ``above``: the models that are being made of it, the nearest last."""
        kind = given.get("type", "webui")
        if kind == "sd-webui-supermerger":
            slots = {slot: self.model(given.get(f"model_{slot}"), place, slot, above) for slot in "abc"}
            return supermerger.from_header(given, slots, place, self.notes)
        if kind == "astolfo" and isinstance(given.get("recipe"), str):
            return Recipe.from_yaml(given["recipe"])
        if kind != "webui":
            raise BadInput(f"{place}.type", repr(kind), "webui, sd-webui-supermerger or astolfo")
        return self._webui(given, place, above)

    def _webui(self, given: Mapping[str, Any], place: str, above: tuple[str, ...]) -> Recipe:
        interp = str(given.get("interp_method"))
        if interp not in METHODS:
            raise BadInput(f"{place}.interp_method", repr(interp), f"one of {', '.join(METHODS)}")
        models: dict[str, ModelValue] = {}
        for slot, role in zip("abc", ROLES[interp], strict=False):
            models[slot] = self.model(given.get(f"{role}_model_hash"), place, role, above)
            if not models[slot]:
                expected = "a sha256; A1111 writes none for a model that it had not hashed yet"
                raise BadInput(f"{place}.{role}_model_hash", "nothing", expected)
        self._say_the_rest(given)
        dtype = "fp16" if given.get("save_as_half", True) else "keep"
        if interp == "No interpolation":
            return Recipe("model", models, dtype=dtype)
        ratios = spread.everywhere(number(given.get("multiplier"), f"{place}.multiplier"), vae=True)
        return Recipe(METHODS[interp], models, dtype=dtype, **ratios.fields())

    def _say_the_rest(self, given: Mapping[str, Any]) -> None:
        name = str(given.get("custom_name") or "a merge")
        vae = given.get("bake_in_vae")
        if vae and vae != "None":
            self._vaes.setdefault(str(vae), []).append(name)
        if given.get("discard_weights"):
            self.notes.add(f"{name}: A1111 discarded keys matching {given['discard_weights']!r}; the recipe keeps them")

    def all_notes(self) -> tuple[str, ...]:
        """The notes, those on VAEs in one line for each VAE."""
        for vae, names in self._vaes.items():
            where = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more merges"
            self.notes.add(f"A1111 baked the VAE {vae} into {where}; the recipe merges the models' own VAEs instead")
        self._vaes.clear()
        return self.notes.all()

    def model(self, sha256: Any, place: str, role: str, above: tuple[str, ...]) -> ModelValue:
        """A model by its hash: a recipe if it was merged itself, else a file; "" if there is none."""
        digest = sha256.lower() if isinstance(sha256, str) else ""
        digest = digest or self.gaps.get((above[-1] if above else "", role), "")
        if not digest:
            return ""
        entry = self.models.get(digest)
        if entry is None:
            self.notes.add(f"{digest[:10]} has no name in the header: it is looked for by its hash")
            return self._named(digest[:10], digest)
        if entry.recipe is None or not self.expand:
            return self._named(checkpoint_name(entry.name), digest)
        if digest in above or len(above) > DEEPEST:
            raise BadInput(f"{place}: {role}", f"{entry.name}, which is made of itself", "a history without loops")
        if digest not in self._made:
            self._made[digest] = self._inner(entry, (*above, digest))
        return self._made[digest]

    def _inner(self, entry: Entry, above: tuple[str, ...]) -> ModelValue:
        """A merged model's recipe, or, where that cannot be told, its file."""
        assert entry.recipe is not None
        before = dict(self.names)
        try:
            return self.recipe(entry.recipe, f"{self.where}: {MODELS}.{entry.sha256[:10]} ({entry.name})", above)
        except BadInput as error:
            self.names = before
            self.notes.add(f"{entry.name} is taken as a file: {error.where.rsplit(') ', 1)[-1]}: {error.found}")
            return self._named(checkpoint_name(entry.name), entry.sha256)

    def _named(self, name: str, digest: str) -> str:
        """The name, made different from that of another file of the same name."""
        if self.names.get(name, digest) != digest:
            name = f"{name} [{digest[:10]}]"
        self.names[name] = digest
        return name
