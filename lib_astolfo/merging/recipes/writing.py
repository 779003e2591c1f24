"""Our recipes written for people and for other programs."""

from __future__ import annotations

from collections.abc import Callable

from lib_astolfo.merging.recipe import Recipe

from . import a1111_write, mecha_write


def _yaml(recipe: Recipe) -> tuple[str, tuple[str, ...]]:
    return recipe.to_yaml(), ()


def _a1111(recipe: Recipe) -> tuple[str, tuple[str, ...]]:
    missing = [name for name in recipe.files() if name not in recipe.all_hashes()]
    notes = (f"no hash of {', '.join(missing)}: a header has those of all models",) if missing else ()
    return a1111_write.text(recipe), notes


#: Format to its writer: ``recipe -> (text, notes of what it cannot say)``. Errors: BadInput.
WRITERS: dict[str, Callable[[Recipe], tuple[str, tuple[str, ...]]]] = {
    "yaml": _yaml,
    "a1111": _a1111,
    "mecha": mecha_write.write,
}
