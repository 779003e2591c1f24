"""Running averages as what they are: one mean with weights, however many models it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lib_astolfo.merging.recipe import ModelValue, Recipe

from .reading import Notes, slots
from .spread import EMBEDDINGS

Term = tuple[ModelValue, float]


def collapse(recipe: Recipe, notes: Notes) -> Recipe:
    """The same merge with weighted sums of weighted sums as one ``n_average``.

    Only sums with one ratio, alike in what they do to VAE and embeddings, are put together. The first model stays
    first: what is not merged is kept from it.
    """
    models = {slot: collapse(m, notes) if isinstance(m, Recipe) else m for slot, m in recipe.models.items()}
    recipe = replace(recipe, models=models)
    kind = _kind(recipe)
    if kind is None or not any(isinstance(m, Recipe) and _kind(m) == kind for m in models.values()):
        return recipe
    merged: dict[str, float] = {}
    inner: list[Term] = []
    for model, weight in _terms(recipe, kind, 1.0):
        if isinstance(model, str):
            merged[model] = merged.get(model, 0.0) + weight
        else:
            inner.append((model, weight))
    terms: list[Term] = [*merged.items(), *inner]
    if len(terms) < 3 or terms[0][0] != _first(recipe, kind):
        return recipe
    names = slots(len(terms))
    notes.add("weighted sums in each other are one mean with weights")
    return Recipe(
        "n_average",
        {name: model for name, (model, _) in zip(names, terms, strict=True)},
        ratio={name: weight for name, (_, weight) in zip(names, terms, strict=True)},
        blocks={"VAE": 1.0} if kind[0] else None,
        patterns={EMBEDDINGS: 0.0} if kind[1] else {},
        dtype=recipe.dtype,
    )


def _kind(recipe: Recipe) -> tuple[bool, bool] | None:
    """Whether a sum merges the VAE, and leaves the embeddings; None for what is no plain sum."""
    if recipe.options or recipe.elements or recipe.adjust or recipe.loras or recipe.hashes or recipe.output:
        return None
    if recipe.method == "n_average" and isinstance(recipe.ratio, Mapping):
        vae = recipe.blocks == {"VAE": 1.0}
    elif recipe.method == "weighted_sum" and isinstance(recipe.ratio, int | float):
        vae = recipe.blocks == {"VAE": recipe.ratio}
    else:
        return None
    plain = (vae or not recipe.blocks) and recipe.patterns in ({}, {EMBEDDINGS: 0.0})
    return (vae, bool(recipe.patterns)) if plain else None


def _terms(recipe: Recipe, kind: tuple[bool, bool], whole: float) -> list[Term]:
    """Models and their weights, the first model first."""
    found: list[Term] = []
    for slot, share in _shares(recipe).items():
        model = recipe.models[slot]
        if isinstance(model, Recipe) and _kind(model) == kind:
            found += _terms(model, kind, whole * share)
        else:
            found.append((model, whole * share))
    return found


def _shares(recipe: Recipe) -> dict[str, float]:
    if isinstance(recipe.ratio, Mapping):
        total = sum(recipe.ratio.values())
        return {slot: value / total for slot, value in recipe.ratio.items()}
    assert recipe.ratio is not None
    return {"a": 1 - recipe.ratio, "b": recipe.ratio}


def _first(recipe: Recipe, kind: tuple[bool, bool]) -> ModelValue:
    model = recipe.models["a"]
    return _first(model, kind) if isinstance(model, Recipe) and _kind(model) == kind else model
