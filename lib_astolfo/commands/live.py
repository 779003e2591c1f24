"""The live state: a recipe written into the loaded weights, and taken out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from lib_astolfo.merging.recipe import Recipe

    from .workspace import Workspace


def state(workspace: Workspace) -> dict[str, Any]:
    """The loaded checkpoint and the recipe in its weights; waits for nobody."""
    model = workspace.host.model
    if model is None:
        return {"model": None, "recipe": None, "description": ""}
    recipe = workspace.live().current
    return {
        "model": model.entry.name,
        "recipe": recipe.to_dict() if recipe is not None else None,
        "description": recipe.describe() if recipe is not None else "",
    }


def put(workspace: Workspace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write a recipe into the loaded weights; without a loaded model the recipe's first one is loaded.

    ``values``: a recipe's keys, and ``model``, the checkpoint to load for it. The state, with the merge's report.
    Errors: BadInput, Failed; the weights are then as before.
    """
    recipe = recipe_of({name: value for name, value in values.items() if name not in ("model", "output")})
    model = values.get("model") or ""
    if not isinstance(model, str):
        raise BadInput("model", repr(model), "the name of a checkpoint")
    with workspace.locked():
        if model:
            workspace.host.load(model)
        elif workspace.host.model is None:
            workspace.host.load(recipe.files()[0])
        report = workspace.live().apply(recipe)
        return {**state(workspace), "report": report.to_dict()}


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values. Errors: BadInput naming the key."""
    from lib_astolfo.merging.recipe import Recipe

    try:
        return Recipe.from_dict({"models": {}, **values})
    except BadInput as error:
        raise BadInput(error.where.removeprefix("recipe."), error.found, error.expected) from error


def delete(workspace: Workspace) -> dict[str, Any]:
    """Put the loaded model's own weights back."""
    with workspace.locked():
        if workspace.host.model is not None:
            workspace.live().restore()
        return state(workspace)
