"""Places for the nodes of a graph without cycles: in layers, with few crossings, so that nothing lies upon another.

After Sugiyama, Tagawa and Toda 1981: layers by the longest path, long edges led through every layer between, order in a
layer by the mean place of the neighbours, swept to and fro.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SWEEPS = 12


@dataclass(frozen=True)
class Layout:
    """Where everything is.

    Attributes:
        places: node to (layer, y of its middle); layer 0 is that of the target.
        routes: for every edge, in order, the y of its lane in each layer between parent and child, the parent's side
            first; empty where the two are neighbours.
    """

    places: Mapping[str, tuple[int, float]]
    routes: Sequence[tuple[float, ...]]


def arrange(target: str, edges: Sequence[tuple[str, str]], heights: Mapping[str, float], gap: float) -> Layout:
    """Arrange a graph whose edges are (parent, child); ``heights`` of all nodes, ``gap`` between two of them."""
    layer = layers(target, edges, heights)
    chains = [_chain(index, edge, layer) for index, edge in enumerate(edges)]
    rows: dict[int, list[str]] = {}
    for node, number in layer.items():
        rows.setdefault(number, []).append(node)
    for chain in chains:
        for node, number in chain[1:-1]:
            rows.setdefault(number, []).append(node)
            layer[node] = number
    links = [(chain[i][0], chain[i + 1][0]) for chain in chains for i in range(len(chain) - 1)]
    order = _order(rows, links)
    places = _places(order, links, {**dict.fromkeys(layer, 0.12), **heights}, gap)
    routes = [tuple(places[node] for node, _ in chain[1:-1]) for chain in chains]
    return Layout({node: (layer[node], places[node]) for node in heights}, routes)


def layers(target: str, edges: Sequence[tuple[str, str]], nodes: Mapping[str, float]) -> dict[str, int]:
    """Layer of every node: the longest way to the target."""
    children: dict[str, list[str]] = {}
    for parent, child in edges:
        children.setdefault(parent, []).append(child)
    found = {target: 0}
    waiting = set()

    def depth(node: str) -> int:
        if node not in found:
            if node in waiting:
                return 0  # a loop in what headers say: the edge is drawn all the same
            waiting.add(node)
            found[node] = 1 + max((depth(child) for child in children.get(node, [])), default=0)
        return found[node]

    for node in nodes:
        depth(node)
    return found


def _chain(index: int, edge: tuple[str, str], layer: Mapping[str, int]) -> list[tuple[str, int]]:
    """An edge as nodes layer by layer, from parent to child."""
    parent, child = edge
    between = range(layer[parent] - 1, layer[child], -1)
    return [(parent, layer[parent]), *((f"\0{index}.{number}", number) for number in between), (child, layer[child])]


def _order(rows: Mapping[int, list[str]], links: Sequence[tuple[str, str]]) -> dict[int, list[str]]:
    """The rows ordered by the mean place of neighbours."""
    up: dict[str, list[str]] = {}
    down: dict[str, list[str]] = {}
    for parent, child in links:
        up.setdefault(child, []).append(parent)
        down.setdefault(parent, []).append(child)
    order = {number: list(rows[number]) for number in sorted(rows)}
    best, fewest = {number: list(row) for number, row in order.items()}, _crossings(order, links)
    for sweep in range(SWEEPS):
        numbers = sorted(order) if sweep % 2 == 0 else sorted(order, reverse=True)
        near = down if sweep % 2 == 0 else up
        for number in numbers:
            place = {node: index for row in order.values() for index, node in enumerate(row)}
            order[number].sort(key=lambda node: _mean([place[n] for n in near.get(node, [])], place[node]))
        crossings = _crossings(order, links)
        if crossings < fewest:
            best, fewest = {number: list(row) for number, row in order.items()}, crossings
    return best


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(order: Mapping[int, list[str]], links: Sequence[tuple[str, str]]) -> int:
    place = {node: (number, index) for number, row in order.items() for index, node in enumerate(row)}
    between: dict[int, list[tuple[int, int]]] = {}
    for parent, child in links:
        between.setdefault(place[parent][0], []).append((place[parent][1], place[child][1]))
    total = 0
    for pairs in between.values():
        pairs.sort()
        total += sum(a[1] > b[1] for i, a in enumerate(pairs) for b in pairs[i + 1 :] if a[0] != b[0])
    return total


def _places(
    order: Mapping[int, list[str]], links: Sequence[tuple[str, str]], heights: Mapping[str, float], gap: float
) -> dict[str, float]:
    """y of every node: near its neighbours, none upon another."""
    near: dict[str, list[str]] = {}
    for parent, child in links:
        near.setdefault(parent, []).append(child)
        near.setdefault(child, []).append(parent)
    places: dict[str, float] = {}
    for row in order.values():
        _spread(row, {node: float(index) for index, node in enumerate(row)}, heights, gap, places)
    for _ in range(SWEEPS):
        for row in order.values():
            wanted = {node: _mean([places[n] for n in near.get(node, [])], places[node]) for node in row}
            _spread(row, wanted, heights, gap, places)
    return places


def _spread(
    row: Sequence[str], wanted: Mapping[str, float], heights: Mapping[str, float], gap: float, places: dict[str, float]
) -> None:
    """Place a row in its order as near to what is wanted as its heights allow (pool adjacent violators)."""
    offsets, offset = [], 0.0
    for index, node in enumerate(row):
        offset += 0.0 if index == 0 else (heights[row[index - 1]] + heights[node]) / 2 + gap
        offsets.append(offset)
    pools: list[tuple[float, int]] = []
    for node, shift in zip(row, offsets, strict=True):
        pools.append((wanted[node] - shift, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (b, m), (a, n) = pools.pop(), pools.pop()
            pools.append(((a * n + b * m) / (n + m), n + m))
    levels = [value for value, count in pools for _ in range(count)]
    for node, shift, level in zip(row, offsets, levels, strict=True):
        places[node] = level + shift
