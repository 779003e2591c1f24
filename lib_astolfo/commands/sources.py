"""Recipes from elsewhere: read from a text, a file or a checkpoint's header, and their models found on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from lib_astolfo.merging.recipe import Recipe
    from lib_astolfo.merging.recipes import Reading

    from .workspace import Workspace


def read(source: str, workspace: Workspace, format: str = "") -> Reading:
    """The recipe in a text of several lines, a file, or a merged checkpoint's header.

    Files that are no checkpoints are read on the command line only (``free_paths``). Errors: BadInput.
    """
    from lib_astolfo.merging import recipes

    if "\n" in source.strip() or source.lstrip().startswith("{"):
        return recipes.read(source, "recipe", format)
    path = Path(source).expanduser()
    if workspace.free_paths and path.is_file():
        return recipes.read_file(path, format)
    try:
        return recipes.read_file(workspace.resolve(source))
    except BadInput as error:
        if workspace.free_paths and path.suffix and path.suffix != ".safetensors":
            raise BadInput(source, "no such file", "a recipe's file, or a merged checkpoint") from error
        raise


def paths(recipe: Recipe, workspace: Workspace) -> dict[str, Path]:
    """The file of every checkpoint name in a recipe: by its name, by its hash where one is known, by its file's name.

    Errors: BadInput naming the model and the nearest names there are.
    """
    hashes = recipe.all_hashes()
    return {name: _find(name, hashes.get(name, ""), workspace) for name in recipe.files()}


def resolver(found: Mapping[str, Path], workspace: Workspace) -> Callable[[str], Path]:
    """For the engine: what ``paths`` found, and the workspace's own for any other name."""
    return lambda name: found[name] if name in found else workspace.resolve(name)


def _find(name: str, digest: str, workspace: Workspace) -> Path:
    try:
        path = workspace.resolve(name)
    except BadInput:
        path = None
    if path is not None and _fits(path, digest, workspace):
        return path
    entries = workspace.host.checkpoints()
    for entry in entries:
        if digest and _known(entry.path, entry.short_hash, workspace).startswith(digest.lower()[:10]):
            return entry.path
    if path is not None:
        return path  # its hash tells later whether it is the one
    stem = PurePath(name).stem.lower()
    same = [entry.path for entry in entries if entry.path.stem.lower() == stem]
    if len(same) == 1:
        return same[0]
    names = {entry.path.stem: entry.name for entry in entries}
    near = [names[one] for one in get_close_matches(PurePath(name).stem, names, 3, 0.5)]
    known = f"of that name or hash; near: {', '.join(near)}" if near else "of that name or hash in the models folders"
    found = f"no file of that name{f' or sha256 {digest[:10]}' if digest else ''}" if not same else f"{len(same)} files"
    raise BadInput(f"models: {name}", found, f"one checkpoint {known}")


def _fits(path: Path, digest: str, workspace: Workspace) -> bool:
    known = workspace.digests.known(path)
    return not digest or known is None or known.startswith(digest.lower())


def _known(path: Path, short: str | None, workspace: Workspace) -> str:
    return (workspace.digests.known(path) or short or "").lower()[:10]
