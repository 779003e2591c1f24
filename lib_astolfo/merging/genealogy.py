"""Where a model comes from: a graph made from headers, its own and those of its ancestors.

What is read, of each file: our recipe (``astolfo.recipe``), sd-mecha's (``mecha_recipe``), A1111's and supermerger's
(``sd_merge_recipe``, and ``sd_merge_models`` for ancestors whose files are not here), kohya's training entries
(``ss_sd_model_name``, ``ss_new_sd_model_hash``, … of kohya-ss/sd-scripts, library/train_util.py), modelspec's title.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Protocol

from lib_astolfo.checkpoints import metadata as headers
from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import AstolfoError, BadInput
from lib_astolfo.merging import flatten
from lib_astolfo.merging.recipe import ModelValue, Recipe
from lib_astolfo.merging.recipes import MECHA, a1111, mecha
from lib_astolfo.merging.recipes.a1111_gaps import Entry, fill, parents
from lib_astolfo.merging.recipes.reading import checkpoint_name

MOST_PARENTS = 12  # of one merge; the rest is one node
MOST_NODES = 400
FILE, HEADER, STEP, MORE = "file", "header", "step", "more"


@dataclass(frozen=True)
class Node:
    """A model, or a step of a recipe that has no file.

    Attributes:
        key: its sha256 where it is known, else a name that nothing else has.
        name: for people.
        hash: first ten digits of its sha256, "" if unknown.
        prediction: how it is sampled, "" if its file is not here.
        kind: ``file`` (here), ``header`` (known from a header only), ``step`` (inside a recipe), ``more`` (many at
            once).
        made: the method that made it, "trained", or "".
        note: what else is known.
    """

    key: str
    name: str
    hash: str = ""
    prediction: str = ""
    kind: str = HEADER
    made: str = ""
    note: str = ""


@dataclass(frozen=True)
class Edge:
    """``parent`` went into ``child``. ``label``: the share or the slot."""

    parent: str
    child: str
    method: str
    label: str = ""


@dataclass
class Graph:
    """``target`` is the key of the model asked for; nodes by key in the order they were found."""

    target: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "target": self.target,
            "nodes": [vars(node) for node in self.nodes.values()],
            "edges": [vars(edge) for edge in self.edges],
            "notes": list(self.notes),
        }


class Library(Protocol):
    """The files that are at hand."""

    def find(self, name: str, sha256: str) -> Path | None:
        """The file with that hash (or its first digits), or, where no hash is known, of that name."""

    def sha256(self, path: Path) -> str:
        """The file's whole sha256, "" if it is not to be computed."""


def trace(path: Path, library: Library, name: str = "") -> Graph:
    """The genealogy of a checkpoint. Errors: BadInput if the file itself cannot be read."""
    tracer = _Tracer(library)
    digest = library.sha256(path)
    tracer.graph.target = digest or f"name:{name or path.name}"
    with CheckpointFile.open(path):
        pass  # an unreadable target is an error; an unreadable ancestor is a note
    tracer.model(tracer.graph.target, name or path.name, digest, {})
    return tracer.graph


class _Tracer:
    def __init__(self, library: Library) -> None:
        self.library = library
        self.graph = Graph("")
        self._gaps: dict[tuple[str, str], str] = {}  # (key of a merged model, role) to sha256

    def model(self, key: str, name: str, digest: str, entries: Mapping[str, Entry]) -> None:
        """Add a model and its ancestors. ``entries``: what headers so far say of models by their sha256."""
        if key in self.graph.nodes:
            return
        self.graph.nodes[key] = Node(key, shown_name(name), digest[:10])
        if len(self.graph.nodes) > MOST_NODES:
            self._note(f"more than {MOST_NODES} models: the rest is left out")
            return
        path = self.library.find(name, digest)
        if path is not None and self._file(key, path, entries):
            return
        entry = entries.get(digest)
        if entry is not None and entry.recipe is not None:
            self._entry(key, entry, entries)

    def _file(self, key: str, path: Path, entries: Mapping[str, Entry]) -> bool:
        """Read a file's header; false if it cannot be read, or says less than the headers so far."""
        try:
            with CheckpointFile.open(path) as file:
                metadata, prediction = dict(file.metadata), identify(file).sampling.describe()
        except (AstolfoError, OSError) as error:
            self._note(str(error))
            return False
        title = metadata.get("modelspec.title", "")
        note = f"“{title}”" if title and title != path.stem else ""
        self._update(key, prediction=prediction, kind=FILE, note=note)
        return self._history(key, metadata, entries)

    def _history(self, key: str, metadata: Mapping[str, Any], entries: Mapping[str, Entry]) -> bool:
        where = self.graph.nodes[key].name
        try:
            recipe, own = a1111.entry_points(metadata, where)
            entries = {**entries, **own}
            if metadata.get(headers.RECIPE):
                self._recipe(key, Recipe.from_yaml(str(metadata[headers.RECIPE])), entries)
            elif metadata.get(MECHA):
                self._recipe(key, mecha.read(str(metadata[MECHA]), f"{where}: {MECHA}").recipe, entries)
            elif recipe is not None:
                self._entry(key, Entry(key, where, "", recipe), entries, top=True)
            else:
                return self._training(key, metadata, entries)
        except BadInput as error:
            self._note(str(error))
            return False
        return True

    def _training(self, key: str, metadata: Mapping[str, Any], entries: Mapping[str, Entry]) -> bool:
        """kohya's notes on what was trained."""
        base = str(metadata.get("ss_sd_model_name") or "")
        digest = str(metadata.get("ss_new_sd_model_hash") or "").lower()
        if not base or base == "None":
            return False
        said = {"epochs": "ss_num_epochs", "steps": "ss_max_train_steps", "lr": "ss_learning_rate"}
        parts = [f"{word} {metadata[name]}" for word, name in said.items() if metadata.get(name) not in (None, "None")]
        parent = self._known(checkpoint_name(base), digest)
        if parent == key:
            return False
        self._update(key, made="trained", note=", ".join(parts) or self.graph.nodes[key].note)
        self.graph.edges.append(Edge(parent, key, "trained", "trained"))
        self.model(parent, checkpoint_name(base), digest, entries)
        return True

    def _entry(self, key: str, entry: Entry, entries: Mapping[str, Entry], *, top: bool = False) -> None:
        """The models of a merge that A1111 or supermerger wrote down, or ours in their notes."""
        assert entry.recipe is not None
        if isinstance(entry.recipe.get("recipe"), str):
            self._recipe(key, Recipe.from_yaml(entry.recipe["recipe"]), entries)
            return
        if top:
            self._gaps.update({(owner or key, role): sha for (owner, role), sha in fill(entry.recipe, entries).items()})
        found = {}
        for role, digest in parents(entry.recipe).items():
            digest = digest or self._gaps.get((key, role), "")
            if not digest:
                continue
            name = entries[digest].name if digest in entries else digest[:10]
            found[role] = (checkpoint_name(name), digest)
        method = str(entry.recipe.get("interp_method") or entry.recipe.get("mode") or "merge").split(":")[0]
        labels = _shares(entry.recipe)
        self._update(key, made=method)
        for role, (name, digest) in found.items():
            parent = self._known(name, digest)
            self.graph.edges.append(Edge(parent, key, method, labels.get(role, "")))
            self.model(parent, name, digest, entries)

    def _recipe(self, key: str, recipe: Recipe, entries: Mapping[str, Entry]) -> None:
        """The models of our recipe; nested sums become one, other nested recipes steps of their own."""
        hashes = recipe.all_hashes()
        merge = flatten.flat(recipe)
        self._update(key, made=merge.method)
        shown = merge.inputs[:MOST_PARENTS]
        for index, one in enumerate(shown):
            parent = self._input(f"{key}/{index}", one.model, hashes)
            self.graph.edges.append(Edge(parent, key, merge.method, one.label))
            if isinstance(one.model, Recipe):
                if parent not in self.graph.nodes:
                    self.graph.nodes[parent] = Node(parent, one.model.method, kind=STEP)
                    self._recipe(parent, one.model, entries)
            else:
                self.model(parent, one.model, hashes.get(one.model, ""), entries)
        self._rest(key, merge, len(shown))
        for use in recipe.loras:
            lora = f"lora:{use.file}"
            self.graph.nodes.setdefault(
                lora, Node(lora, shown_name(use.file), hashes.get(use.file, "")[:10], note="LoRA")
            )
            self.graph.edges.append(Edge(lora, key, "lora", f"{use.weight:g}"))

    def _input(self, step: str, model: ModelValue, hashes: Mapping[str, str]) -> str:
        return step if isinstance(model, Recipe) else self._known(model, hashes.get(model, ""))

    def _rest(self, key: str, merge: flatten.Merge, shown: int) -> None:
        rest = merge.inputs[shown:]
        if rest:
            more = f"{key}/more"
            names = ", ".join(PurePath(one.model).stem for one in rest[:3] if isinstance(one.model, str))
            self.graph.nodes[more] = Node(more, f"{len(rest)} more models", kind=MORE, note=f"{names}, …")
            self.graph.edges.append(Edge(more, key, merge.method, ""))

    def _known(self, name: str, digest: str) -> str:
        """The key of a model: its whole hash if the file is here, else what is known of it."""
        if len(digest) == 64:
            return digest
        path = self.library.find(name, digest)
        found = self.library.sha256(path) if path is not None else ""
        return found or (f"hash:{digest}" if digest else f"name:{PurePath(name).name}")

    def _update(self, key: str, **changes: str) -> None:
        given = {name: value for name, value in changes.items() if value}
        self.graph.nodes[key] = replace(self.graph.nodes[key], **given)

    def _note(self, text: str) -> None:
        if text not in self.graph.notes:
            self.graph.notes.append(text)


def shown_name(name: str) -> str:
    """A checkpoint's name without its folder and ending."""
    plain = PurePath(name).name
    return plain.removesuffix(".safetensors").removesuffix(".ckpt") or plain


def _shares(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Role to label of a merge by A1111 or supermerger."""
    if recipe.get("type") == "sd-webui-supermerger":
        mode = str(recipe.get("mode", "")).lower()
        alpha, beta = recipe.get("base_alpha"), recipe.get("base_beta")
        if recipe.get("mbw"):
            return {"a": "A", "b": "B by block", "c": "C by block"}
        if "add" in mode:
            return {"a": "A", "b": _signed(alpha, "+"), "c": _signed(alpha, "-")}
        return {"a": "A", "b": f"B {alpha}", "c": f"C {beta}"}
    ratio = recipe.get("multiplier")
    if not isinstance(ratio, int | float):
        return {}
    if recipe.get("interp_method") == "Add difference":
        return {"primary": "A", "secondary": _signed(ratio, "+"), "tertiary": _signed(ratio, "-")}
    return {"primary": f"{1 - ratio:.4g}", "secondary": f"{ratio:.4g}"}


def _signed(value: Any, sign: str) -> str:
    return f"{sign} {value:.4g}" if isinstance(value, int | float) else sign
