"""Nested weighted sums as one: which model has which share of the result."""

from __future__ import annotations

from dataclasses import dataclass

from lib_astolfo.merging import policy
from lib_astolfo.merging.recipe import ModelValue, Recipe


@dataclass(frozen=True)
class Input:
    """A model of a merge, and the words for its part in it."""

    model: ModelValue
    label: str


@dataclass(frozen=True)
class Merge:
    """What a recipe does with which models."""

    method: str
    inputs: tuple[Input, ...]


def flat(recipe: Recipe) -> Merge:
    """The models of a recipe with their parts; sums in sums are multiplied out, the largest share first."""
    if _plain_sum(recipe) and any(isinstance(m, Recipe) and _plain_sum(m) for m in recipe.models.values()):
        shares: dict[str, float] = {}
        others: list[Input] = []
        for model, share in _shares(recipe, 1.0):
            if isinstance(model, Recipe):
                others.append(Input(model, f"{share:.3g}"))
            else:
                shares[model] = shares.get(model, 0.0) + share
        ordered = sorted(shares.items(), key=lambda item: -abs(item[1]))
        inputs = (*(Input(name, f"{share:.3g}") for name, share in ordered), *others)
        return Merge(f"weighted sum of {len(inputs)}", inputs)
    slots = policy.slots_in_order(recipe)
    return Merge(recipe.method, tuple(Input(recipe.models[slot], _label(recipe, slot)) for slot in slots))


def _plain_sum(recipe: Recipe) -> bool:
    """One ratio everywhere, or everywhere but in the VAE."""
    blocks = set(recipe.blocks or {}) - {"VAE"}
    plain = not (blocks or recipe.patterns or recipe.elements or recipe.adjust or recipe.loras)
    return plain and recipe.method == "weighted_sum" and isinstance(recipe.ratio, int | float)


def _shares(recipe: Recipe, whole: float) -> list[tuple[ModelValue, float]]:
    ratio = recipe.ratio
    assert isinstance(ratio, int | float)
    found: list[tuple[ModelValue, float]] = []
    for slot, share in (("a", whole * (1 - ratio)), ("b", whole * ratio)):
        model = recipe.models[slot]
        inner = isinstance(model, Recipe) and _plain_sum(model)
        found += _shares(model, share) if isinstance(model, Recipe) and inner else [(model, share)]
    return found


def _label(recipe: Recipe, slot: str) -> str:
    ratio = recipe.ratio
    by_part = bool(set(recipe.blocks or {}) - {"VAE"} or recipe.patterns or recipe.elements)
    if slot == "base":
        return "base"
    if isinstance(ratio, int | float) and not by_part:
        if recipe.method == "weighted_sum":
            return f"{1 - ratio:.4g}" if slot == "a" else f"{ratio:.4g}"
        if recipe.method in ("add_difference", "train_difference"):
            return {"a": "A", "b": f"+ {ratio:.4g}", "c": f"- {ratio:.4g}"}[slot]
    if not isinstance(ratio, int | float | None):
        return f"{ratio.get(slot, 1.0):.4g}"
    said = "by block" if by_part else f"{ratio:.4g}" if ratio is not None else ""
    return f"{slot.upper()} {said}".strip() if slot != "a" or not said else "A"
