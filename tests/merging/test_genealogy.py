"""Where models come from: graphs from headers of files and of what files remember, drawn without overlaps."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import genealogy_picture, genealogy_text
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.flatten import flat
from lib_astolfo.merging.genealogy import Graph, Node, trace
from lib_astolfo.merging.recipe import Recipe
from tests.merging.test_recipes_read import DATA
from tests.merging.tiny import Make

Resolve = Callable[[str], Path]


class Shelf:
    """All files of a folder, hashed."""

    def __init__(self, folder: Path) -> None:
        self.hashes = {}
        for path in sorted(folder.glob("*.safetensors")):
            with CheckpointFile.open(path) as file:
                self.hashes[path] = file.sha256()

    def find(self, name: str, sha256: str) -> Path | None:
        fits = [path for path, digest in self.hashes.items() if sha256 and digest.startswith(sha256)]
        return next((path for path in (fits or self.hashes) if fits or (path.stem == name and not sha256)), None)

    def sha256(self, path: Path) -> str:
        return self.hashes[path]


def edges(graph: Graph) -> set[tuple[str, str, str]]:
    """Names of parent and child, and the label."""
    return {(graph.nodes[e.parent].name, graph.nodes[e.child].name, e.label) for e in graph.edges}


@pytest.fixture
def family(make: Make, resolve: Resolve, models: Path) -> Path:
    """base, v (trained on base), m = base and v, n = m + (v - base); m renamed since."""
    make("base", 1)
    with CheckpointFile.open(models / "base.safetensors") as file:
        digest = file.sha256()
    trained = {
        "ss_sd_model_name": "C:\\models\\base.safetensors",
        "ss_new_sd_model_hash": digest,
        "ss_num_epochs": "10",
    }
    make("v", 2, metadata={**trained, "modelspec.prediction_type": "v", "modelspec.title": "Vee"})
    merge(Recipe("weighted_sum", {"a": "base", "b": "v"}, 0.75), resolve, models / "m.safetensors", hashes=True)
    last = Recipe("add_difference", {"a": "m", "b": "v", "c": "base"}, 0.1)
    merge(last, resolve, models / "n.safetensors", hashes=True)
    (models / "m.safetensors").rename(models / "m renamed.safetensors")
    return models


def test_files_find_each_other_by_hash(family: Path) -> None:
    graph = trace(family / "n.safetensors", Shelf(family), "n")
    assert edges(graph) == {
        ("m", "n", "A"),
        ("v", "n", "+ 0.1"),
        ("base", "n", "- 0.1"),
        ("base", "m", "0.25"),
        ("v", "m", "0.75"),
        ("base", "v", "trained"),
    }
    by_name = {node.name: node for node in graph.nodes.values()}
    assert [by_name[name].prediction for name in ("base", "v", "m", "n")] == ["eps", "v", "v", "v"]
    assert (by_name["v"].note, by_name["m"].made, by_name["m"].kind) == ("epochs 10", "weighted_sum", "file")
    assert graph.target == by_name["n"].key and len(by_name["n"].hash) == 10


def test_what_is_no_longer_here_is_known_from_headers(family: Path) -> None:
    for name in ("m renamed", "v", "base"):
        (family / f"{name}.safetensors").unlink()
    graph = trace(family / "n.safetensors", Shelf(family), "n")
    assert {("base", "m", "0.25"), ("v", "m", "0.75"), ("m", "n", "A")} <= edges(graph)
    assert {node.kind for node in graph.nodes.values()} == {"file", "header"}


def real(make: Make, name: str) -> Path:
    """A tiny checkpoint with the header of a real one."""
    header = json.loads((DATA / name).read_text("utf-8"))["__metadata__"]
    return make("real", 1, metadata={k: v if isinstance(v, str) else json.dumps(v) for k, v in header.items()})


def test_a_real_header_with_a_gap(make: Make, models: Path) -> None:
    graph = trace(real(make, "recipe-10a.json"), Shelf(models), "real")
    assert len(graph.nodes) == 9 and len(graph.edges) == 8
    assert ("dreamshaper_8", "04a-vcbp_mzpt_d8", "0.25") in edges(graph)  # null in the header
    assert ("04a-vcbp_mzpt_d8", "real", "0.8") in edges(graph)


def test_sd_mechas_header_with_many_models(make: Make, models: Path) -> None:
    lines = ['model "base" "sdxl" "base"']
    for index in range(20):
        lines += [f'model "m{index}" "sdxl" "base"', f'merge "subtract" &{2 * index + 1} &0']
    lines += [
        f'merge "ties_sum" {" ".join(f"&{2 * i + 2}" for i in range(20))} k=1.0 vote_sgn=0.0',
        'merge "add_difference" &0 &41',
    ]
    make("many", 1, metadata={"mecha_recipe": "\n".join(lines)})
    graph = trace(models / "many.safetensors", Shelf(models), "many")
    more = next(node for node in graph.nodes.values() if node.kind == "more")
    assert more.name == "9 more models" and len(graph.nodes) == 14
    assert ("base", "many", "base") in edges(graph)


def test_loras_are_ancestors(make: Make, models: Path) -> None:
    recipe = Recipe.from_dict({"method": "lora", "models": {"a": "base"}, "loras": [{"file": "style", "weight": 0.5}]})
    make("x", 1, metadata={"astolfo.recipe": recipe.to_yaml()})
    graph = trace(models / "x.safetensors", Shelf(models), "x")
    assert edges(graph) == {("base", "x", "A"), ("style", "x", "0.5")}


def test_damaged_headers_are_notes(make: Make, models: Path) -> None:
    make("x", 1, metadata={"astolfo.recipe": "method: [", "sd_merge_recipe": "{"})
    graph = trace(models / "x.safetensors", Shelf(models), "x")
    assert next(iter(graph.nodes.values())).kind == "file" and len(graph.notes) == 1
    (models / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(BadInput):
        trace(models / "bad.safetensors", Shelf(models))


def test_a_recipe_that_goes_in_circles_ends(make: Make, models: Path) -> None:
    recipe = {"type": "webui", "interp_method": "Weighted sum", "multiplier": 0.5, "primary_model_hash": "a" * 64,
              "secondary_model_hash": "b" * 64}  # fmt: skip
    back = {"a" * 64: {"name": "one", "sd_merge_recipe": recipe}, "b" * 64: {"name": "two", "sd_merge_recipe": recipe}}
    make("x", 1, metadata={"sd_merge_recipe": json.dumps(recipe), "sd_merge_models": json.dumps(back)})
    graph = trace(models / "x.safetensors", Shelf(models), "x")
    assert len(graph.nodes) == 3
    assert genealogy_picture.png(graph)[:4] == b"\x89PNG" and "(above)" in genealogy_text.table(graph)


def test_sums_in_sums_are_one_sum_with_shares() -> None:
    chain = Recipe("weighted_sum", {"a": "w", "b": "x"}, 0.5, dtype="fp32")
    chain = Recipe("weighted_sum", {"a": chain, "b": "y"}, 0.2, {"VAE": 0.2}, dtype="fp32")
    flatly = flat(Recipe("weighted_sum", {"a": chain, "b": "w"}, 0.5))
    assert [(one.model, one.label) for one in flatly.inputs] == [("w", "0.7"), ("x", "0.2"), ("y", "0.1")]
    blocks = flat(Recipe("weighted_sum", {"a": chain, "b": "w"}, 0.5, {"IN00": 1.0}))
    assert [one.label for one in blocks.inputs] == ["A", "B by block"] and blocks.inputs[0].model is chain


def graph_of(links: Mapping[str, str], target: str) -> Graph:
    """A graph from child to parents, as text, with long and odd names."""
    from lib_astolfo.merging.genealogy import Edge

    graph = Graph(target)
    for name in dict.fromkeys([target, *links, *" ".join(links.values()).split()]):
        graph.nodes[name] = Node(
            name, f"{name}-Ångström_$x$_星_very_long_name-of-a-checkpoint", "0123456789", "v ZTSNR"
        )
    graph.edges += [Edge(parent, child, "m", "0.5") for child, given in links.items() for parent in given.split()]
    return graph


TREES: dict[str, Any] = {
    "chain": ({f"n{i}": f"n{i + 1} x{i}" for i in range(9)}, "n0"),
    "fan": ({"t": " ".join(f"p{i}" for i in range(20))}, "t"),
    "lattice": (
        {f"{a}{i}": f"{b}0 {b}1 {b}2" for a, b in ("ab", "bc", "cd", "de") for i in range(3)} | {"t": "a0 a1 a2 e0"},
        "t",
    ),
    "shared": ({"t": "a b base", "a": "c base", "b": "c d base", "c": "base e", "d": "base"}, "t"),
}


@pytest.mark.parametrize("name", TREES)
def test_nothing_lies_upon_another(name: str) -> None:
    graph = graph_of(*TREES[name])
    plan = genealogy_picture.place(graph)
    boxes = {key: (*plan.middles[key], box.width, box.height) for key, box in plan.boxes.items()}
    for (x1, y1, w1, h1), (x2, y2, w2, h2) in combinations(boxes.values(), 2):
        assert abs(x1 - x2) >= (w1 + w2) / 2 + 0.2 or abs(y1 - y2) >= (h1 + h2) / 2 + 0.2
    for edge, path in zip(graph.edges, plan.paths, strict=True):
        for x, y in path:
            for key, (bx, by, w, h) in boxes.items():
                ends = 1e-6 if key in (edge.parent, edge.child) else -0.05
                assert abs(x - bx) >= w / 2 - ends or abs(y - by) >= h / 2 - ends, (edge, key)
    assert len({path[0] for path in plan.paths}) == len(plan.paths), "two edges leave from one place"
    with Image.open(io.BytesIO(genealogy_picture.png(graph, dpi=30))) as image:
        assert image.convert("L").getpixel((2, 2)) == 255
        assert image.width > 100 and image.height > 60


def test_mermaid_says_the_same() -> None:
    graph = graph_of({"t": "a b"}, "t")
    graph.nodes["a"] = Node("a", 'quote " <b> & [x]', made="weighted_sum", note="n")
    text = genealogy_text.mermaid(graph)
    assert text.startswith("flowchart LR\n")
    assert 'n1["quote #quot; #lt;b#gt; #amp; [x]<br/>weighted_sum<br/>n"]:::header' in text
    assert '    n1 -->|"0.5"| n0\n' in text and text.count("-->") == 2 and "class n0 target" in text
