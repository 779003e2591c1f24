"""The genealogy as mermaid's text, which GitHub, Obsidian and many others draw (mermaid.js.org, flowchart syntax)."""

from __future__ import annotations

from lib_astolfo.merging.genealogy import FILE, HEADER, MORE, STEP, Graph, Node

_SHAPES = {FILE: ("[", "]"), HEADER: ("[", "]"), STEP: ("([", "])"), MORE: ("[[", "]]")}
_STYLES = (
    "classDef file fill:#eef4ff,stroke:#3b6fd4,color:#1d2330",
    "classDef header fill:#ffffff,stroke:#98a2b3,stroke-dasharray:4 3,color:#1d2330",
    "classDef step fill:#fff7e6,stroke:#c98a1b,color:#1d2330",
    "classDef more fill:#f5f6f8,stroke:#98a2b3,color:#1d2330",
    "classDef target stroke-width:3px",
)


def lines(node: Node) -> list[str]:
    """What stands in a node: name, hash and prediction, what made it, what else is known."""
    second = " · ".join(part for part in (node.hash, node.prediction) if part)
    made = node.made if node.kind != STEP else ""
    return [text for text in (node.name, second, made, node.note) if text]


def mermaid(graph: Graph) -> str:
    """A flowchart from the oldest models on the left to the model asked for on the right."""
    numbers = {key: f"n{index}" for index, key in enumerate(graph.nodes)}
    text = ["flowchart LR"]
    for key, node in graph.nodes.items():
        left, right = _SHAPES[node.kind]
        text.append(f'    {numbers[key]}{left}"{"<br/>".join(map(_escaped, lines(node)))}"{right}:::{node.kind}')
    for edge in graph.edges:
        label = f'|"{_escaped(edge.label)}"|' if edge.label else ""
        text.append(f"    {numbers[edge.parent]} -->{label} {numbers[edge.child]}")
    text += [f"    {style}" for style in _STYLES]
    text.append(f"    class {numbers[graph.target]} target")
    return "\n".join(text) + "\n"


def _escaped(text: str) -> str:
    """Without the signs that mermaid takes for its own."""
    signs = {"&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "\n": " "}
    return "".join(signs.get(sign, sign) for sign in text)


def table(graph: Graph) -> str:
    """The same for a terminal: the model asked for first, its ancestors indented below it."""
    parents: dict[str, list[tuple[str, str]]] = {}
    for edge in graph.edges:
        parents.setdefault(edge.child, []).append((edge.parent, edge.label))
    text: list[str] = []
    seen: set[str] = set()

    def add(key: str, label: str, depth: int) -> None:
        node = graph.nodes[key]
        words = "  ".join([*([label] if label else []), *lines(node)])
        again = key in seen and key in parents
        text.append("  " * depth + words + ("  (above)" if again else ""))
        if not again:
            seen.add(key)
            for parent, share in parents.get(key, []):
                add(parent, share, depth + 1)

    add(graph.target, "", 0)
    return "\n".join([*text, *graph.notes])
