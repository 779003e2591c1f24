"""The live state: a recipe written into the loaded weights, and taken out again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import AstolfoError, BadInput

if TYPE_CHECKING:
    from lib_astolfo.hosts.base import LoadedModel
    from lib_astolfo.merging.recipe import Recipe

    from .workspace import Workspace

#: The keys of a recipe that a request may give; where a result goes is asked for beside them.
RECIPE_KEYS = (
    "method",
    "models",
    "ratio",
    "blocks",
    "elements",
    "patterns",
    "options",
    "loras",
    "adjust",
    "dtype",
    "hashes",
)


def state(workspace: Workspace) -> dict[str, Any]:
    """The loaded checkpoint, the recipe in its weights, and the training that has it; waits for nobody."""
    model, training = workspace.host.model, workspace.training
    found = training.state() if training is not None else None
    if model is None:
        return {"model": None, "recipe": None, "description": "", "training": found}
    recipe = workspace.recipe()
    words = recipe.describe() if recipe is not None else ""
    if training is not None:
        words = f"training {training.name}: pictures at ratio {training.ratio:g}, 0 is the base"
    elif workspace.waiting is not None and workspace.waiting.recipe is not None:
        words = f"{workspace.waiting.path.name}, when it is loaded again: {workspace.waiting.recipe.describe()}"
    return {
        "model": model.entry.name,
        "recipe": recipe.to_dict() if recipe is not None else None,
        "description": words,
        "training": found,
    }


def put(workspace: Workspace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write a recipe into the loaded weights; without a loaded model the recipe's first one is loaded.

    ``values``: a recipe's keys, and ``model``, the checkpoint to load for it. The state, with the merge's report.
    Or ``training`` alone: see ``train_active.put``.
    Errors: BadInput, Failed; model and weights are then as before. Busy while a training has the model.
    """
    if "training" in values:
        return _put_training(workspace, values)
    if workspace.training is not None:
        raise workspace.training.busy()
    recipe = recipe_of({name: value for name, value in values.items() if name not in ("model", "output")})
    model = values.get("model") or ""
    if not isinstance(model, str):
        raise BadInput("model", repr(model), "the name of a checkpoint")
    resolve_all(recipe, workspace)
    if model:
        workspace.resolve(model)
    with workspace.locked():
        workspace.waiting = None
        before, merged = workspace.host.model, workspace.recipe()
        if model or before is None:
            workspace.load(model or recipe.files()[0])
        try:
            report = workspace.live().apply(recipe)
        except AstolfoError:
            _load_again(workspace, before, merged)
            raise
        return {**state(workspace), "report": report.to_dict()}


def _put_training(workspace: Workspace, values: Mapping[str, Any]) -> dict[str, Any]:
    from . import train_active

    if len(values) > 1:
        others = ", ".join(name for name in values if name != "training")
        raise BadInput("training", f"beside {others}", "training alone, or a recipe")
    train_active.put(workspace, values["training"])
    return state(workspace)


def _load_again(workspace: Workspace, before: LoadedModel | None, recipe: Recipe | None) -> None:
    """The model that was loaded before, with what was merged into it."""
    if workspace.host.model is before:
        return
    if before is None:
        workspace.host.unload()
        return
    with suppress(AstolfoError):  # the first error is the one to be told
        workspace.load(before.entry.name)
        if recipe is not None:
            workspace.live().apply(recipe)


def resolve_all(recipe: Recipe, workspace: Workspace) -> None:
    """Every checkpoint of the recipe exists. Errors: BadInput naming the slot."""
    slots = {model: slot for slot, model in recipe.models.items() if isinstance(model, str)}
    for name in recipe.files():
        try:
            workspace.resolve(name)
        except BadInput as error:
            where = f"models.{slots[name]}" if name in slots else "models"
            raise BadInput(where, error.found, error.expected) from error
    for name in recipe.lora_files():
        try:
            workspace.resolve(name)
        except BadInput as error:
            raise BadInput("loras", error.found, error.expected) from error


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
        workspace.waiting = None
        workspace.leave()
        if workspace.recipe() is not None:
            workspace.live().restore()
        return state(workspace)
