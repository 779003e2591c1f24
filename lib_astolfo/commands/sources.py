"""Recipes from elsewhere: read from a text, a file or a checkpoint's header, and their models found on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from lib_astolfo.hosts.base import CheckpointEntry
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
    hashes, shelf = recipe.all_hashes(), _Shelf(workspace)
    return {name: shelf.find(name, hashes.get(name, "")) for name in recipe.files()}


def resolver(found: Mapping[str, Path], workspace: Workspace) -> Callable[[str], Path]:
    """For the engine: what ``paths`` found, and the workspace's own for any other name."""
    return lambda name: found[name] if name in found else workspace.resolve(name)


class _Shelf:
    """The checkpoints of the models folders, looked through once, when a name alone does not do."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @cached_property
    def _entries(self) -> list[CheckpointEntry]:
        return list(self._workspace.host.checkpoints())

    @cached_property
    def _by_hash(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for entry in self._entries:
            digest = self._workspace.digests.known(entry.path) or entry.short_hash or ""
            found.setdefault(digest[:10].lower(), entry.path)
        return found

    def find(self, name: str, digest: str) -> Path:
        """Errors: BadInput."""
        path: Path | None = None
        with suppress(BadInput):
            path = self._workspace.resolve(name)
        known = self._workspace.digests.known(path) if path is not None and digest else None
        if path is not None and (known is None or known.startswith(digest.lower())):
            return path  # where the hash is not known yet, the merge itself looks whether it is the one
        if len(digest) >= 10 and digest[:10].lower() in self._by_hash:
            return self._by_hash[digest[:10].lower()]
        if path is not None:
            return path
        same = [entry.path for entry in self._entries if entry.path.stem.lower() == PurePath(name).stem.lower()]
        if len(same) == 1:
            return same[0]
        raise self._missing(name, digest, len(same))

    def _missing(self, name: str, digest: str, same: int) -> BadInput:
        names = {entry.path.stem: entry.name for entry in self._entries}
        near = ", ".join(names[one] for one in get_close_matches(PurePath(name).stem, names, 3, 0.5))
        known = f"near: {near}" if near else "files that were never hashed are not found under another name"
        found = f"{same} files" if same else f"no file of that name{f' or sha256 {digest[:10]}' if digest else ''}"
        return BadInput(
            f"models: {name}", found, f"one checkpoint of that name or hash in the models folders ({known})"
        )
