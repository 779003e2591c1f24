"""Models that A1111's merge headers leave without a hash, found by their place.

A1111 writes ``primary_model_hash`` and its like before it computes the sha256 of a model it never hashed, so that
they are null (modules/extras.py:279-306); the model's entry in ``sd_merge_models`` comes after that and has the hash.
The entries stand in the order in which they were added: a model, then what its own header had, then the next model;
so the model of a null hash is the entry that nobody names and that comes next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: interp_method to the roles of its models (extras.py:135).
ROLES = {
    "Weighted sum": ("primary", "secondary"),
    "Add difference": ("primary", "secondary", "tertiary"),
    "No interpolation": ("primary",),
}


@dataclass(frozen=True)
class Entry:
    """One model of ``sd_merge_models``."""

    sha256: str
    name: str
    legacy_hash: str = ""
    recipe: Mapping[str, Any] | None = None


def parents(recipe: Mapping[str, Any] | None) -> dict[str, str]:
    """Role or slot to sha256 ("" where there is none) of the models of one merge."""
    if recipe is None:
        return {}
    if recipe.get("type") == "sd-webui-supermerger":
        slots = (
            "ab" if "weight" in str(recipe.get("mode")).lower() else "abc"
        )  # C is filled with A where it is not used
        found = {slot: recipe.get(f"model_{slot}") for slot in slots}
    elif recipe.get("type", "webui") == "webui":
        roles = ROLES.get(str(recipe.get("interp_method")), ())
        found = {role: recipe.get(f"{role}_model_hash") for role in roles}
    else:
        given = recipe.get("models")
        found = dict(given) if isinstance(given, Mapping) else {}
    return {role: digest.lower() if isinstance(digest, str) else "" for role, digest in found.items()}


def fill(recipe: Mapping[str, Any] | None, models: Mapping[str, Entry]) -> dict[tuple[str, str], str]:
    """(sha256 of the merged model, "" for the header's own; role) to the sha256 of the model that has none there."""
    walk = _Walk(models, _named(recipe, models))
    walk.into("", recipe)
    return walk.found


def _named(recipe: Mapping[str, Any] | None, models: Mapping[str, Entry]) -> set[str]:
    recipes = [recipe, *(entry.recipe for entry in models.values())]
    return {digest for one in recipes for digest in parents(one).values() if digest}


class _Walk:
    """Goes through the entries as they were added."""

    def __init__(self, models: Mapping[str, Entry], named: set[str]) -> None:
        self.models = models
        self.named = named
        self.order = list(models)
        self.place = {digest: index for index, digest in enumerate(self.order)}
        self.next = 0
        self.seen: set[str] = set()
        self.found: dict[tuple[str, str], str] = {}

    def into(self, owner: str, recipe: Mapping[str, Any] | None) -> None:
        for role, digest in parents(recipe).items():
            if not digest and self.next < len(self.order) and self.order[self.next] not in self.named:
                digest = self.order[self.next]
                self.found[owner, role] = digest
            if digest in self.models and digest not in self.seen:
                self.seen.add(digest)
                self.next = self.place[digest] + 1
                self.into(digest, self.models[digest].recipe)
