"""``genealogy``: where a model comes from, as picture, mermaid text and table, from the headers that are here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .workspace import Workspace

PICTURE, MERMAID = "genealogy.png", "genealogy.mmd"


@dataclass(frozen=True)
class GenealogySettings:
    """Whose ancestors to look for, in its header and in those of the files in the models folders."""

    models: list[str] = field(default_factory=list)  # one checkpoint
    hash: bool = False  # compute the sha256 of files that were never hashed: ancestors under other names are found
    picture: bool = True  # draw genealogy.png in the job's folder


def check(settings: GenealogySettings, workspace: Workspace) -> GenealogySettings:
    """Errors: BadInput unless one checkpoint is named."""
    if len(settings.models) != 1:
        raise BadInput("models", f"{len(settings.models)} checkpoints", "the name of one")
    try:
        workspace.resolve(settings.models[0])
    except BadInput as error:
        raise BadInput("models", error.found, error.expected) from error
    return replace(settings)


class Shelf:
    """The files of the models folders by hash and name (``merging.genealogy.Library``)."""

    def __init__(self, workspace: Workspace, compute: bool, task: Task) -> None:
        self._digests = workspace.digests
        self._compute = compute
        self._task = task
        self._entries = [entry for entry in workspace.host.checkpoints() if entry.path.suffix == ".safetensors"]
        self._by_hash: dict[str, Path] = {}
        for done, entry in enumerate(self._entries):
            if compute:
                task.progress(done, len(self._entries), f"sha256 of {entry.name}")
            digest = self.sha256(entry.path) or (entry.short_hash or "")
            if digest:
                self._by_hash.setdefault(digest[:10], entry.path)

    def find(self, name: str, sha256: str) -> Path | None:
        """By hash; by name where the hash is not known, or the file of that name was never hashed."""
        if sha256 and sha256[:10] in self._by_hash:
            return self._by_hash[sha256[:10]]
        wanted = PurePath(name).stem.lower()
        for entry in self._entries:
            if entry.path.stem.lower() == wanted and (not sha256 or not self._digests.known(entry.path)):
                return entry.path
        return None

    def sha256(self, path: Path) -> str:
        """As it is known, or, if that is wanted, computed."""
        from lib_astolfo.checkpoints.reader import CheckpointFile
        from lib_astolfo.errors import AstolfoError

        known = self._digests.known(path)
        if known is None and self._compute:
            try:
                with CheckpointFile.open(path) as file:
                    known = self._digests(file, None)
            except (AstolfoError, OSError) as error:
                self._task.event(str(error))
        return known or ""


def run(settings: GenealogySettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """The graph, its text forms and the picture's path."""
    from lib_astolfo.checkpoints.files import write_text
    from lib_astolfo.merging import genealogy, genealogy_text

    settings = check(settings, workspace)
    name = settings.models[0]
    graph = genealogy.trace(workspace.resolve(name), Shelf(workspace, settings.hash, task), name)
    text = genealogy_text.mermaid(graph)
    result = {**graph.to_dict(), "mermaid": text, "table": genealogy_text.table(graph), "files": []}
    if settings.picture:
        from lib_astolfo.merging.genealogy_picture import png

        (task.folder / PICTURE).write_bytes(png(graph))
        write_text(task.folder / MERMAID, text, overwrite=True)
        result["files"] = [str(task.folder / PICTURE), str(task.folder / MERMAID)]
    task.event(f"{len(graph.nodes)} models, {len(graph.edges)} steps")
    return result


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    return "\n".join([result["table"], *result["files"]])
