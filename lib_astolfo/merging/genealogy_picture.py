"""The genealogy as a picture: boxes in layers, from the oldest models to the one asked for, with arrows between."""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib_astolfo.merging.genealogy import FILE, HEADER, MORE, STEP, Edge, Graph, Node
from lib_astolfo.merging.genealogy_text import lines
from lib_astolfo.merging.layers import Layout, arrange, layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, PAPER, LINE = "#1d2330", "#667085", "#ffffff", "#98a2b3"
FILLS = {FILE: "#eef4ff", HEADER: "#ffffff", STEP: "#fff7e6", MORE: "#f5f6f8"}
EDGES = {FILE: "#3b6fd4", HEADER: "#98a2b3", STEP: "#c98a1b", MORE: "#98a2b3"}
WIDTH, GAP, BETWEEN = 2.7, 0.28, 1.2  # inches: of a box, between boxes of a layer, between layers side by side
TEXT, ROW, PORT = 0.165, 28, 0.24  # inches a line, letters a line, inches an edge
TURNED, DROP, TURNED_PORT = 6, 0.62, 0.5  # layers from which on they lie above each other, with these distances
LARGEST = 120.0  # inches of a side
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Yu Gothic",
    "MS Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
)

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """What stands in a node, and its size in inches. ``title``: lines of the name."""

    text: tuple[str, ...]
    title: int
    width: float
    height: float


@dataclass(frozen=True)
class Plan:
    """Where everything lies, in inches, y downwards.

    Attributes:
        boxes: by node.
        middles: of the boxes.
        paths: of every edge, from its parent's side to its child's, as points to be joined by curves and, through a
            layer, by straight lines, in turn.
        turned: layers lie above each other, the oldest on top.
    """

    boxes: dict[str, Box]
    middles: dict[str, Point]
    paths: list[list[Point]]
    turned: bool


def png(graph: Graph, dpi: int = 110) -> bytes:
    """The bytes of a PNG on a light ground."""
    made = figure(graph, dpi)
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", facecolor=PAPER, dpi=made.dpi)
    return buffer.getvalue()


def figure(graph: Graph, dpi: int = 110) -> Figure:
    """A matplotlib Figure, made without pyplot so that nothing global is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plan = place(graph)
    corners = [
        (x + s * b.width / 2, y + s * b.height / 2)
        for k, b in plan.boxes.items()
        for x, y in [plan.middles[k]]
        for s in (-1, 1)
    ]
    points = [*corners, *(point for path in plan.paths for point in path)]
    left, right = min(x for x, _ in points) - 0.3, max(x for x, _ in points) + 0.3
    low, high = min(y for _, y in points) - 0.3, max(y for _, y in points) + 0.3
    scale = min(1.0, LARGEST / max(right - left, high - low))
    made = Figure(figsize=((right - left) * scale, (high - low) * scale), dpi=dpi, facecolor=PAPER)
    FigureCanvasAgg(made)
    axes = made.add_axes((0, 0, 1, 1))
    axes.set_xlim(left, right)
    axes.set_ylim(high, low)
    axes.set_axis_off()
    family = _fonts()
    for edge, path in zip(graph.edges, plan.paths, strict=True):
        _edge(axes, edge, path, plan.turned, family)
    for key, node in graph.nodes.items():
        _node(axes, node, plan.boxes[key], plan.middles[key], key == graph.target, family)
    return made


def place(graph: Graph) -> Plan:
    """Places for all of it; a deep graph is turned, so that the picture is no endless ribbon."""
    pairs = [(edge.parent, edge.child) for edge in graph.edges]
    deep = layers(graph.target, pairs, dict.fromkeys(graph.nodes, 0.0))
    turned = max(deep.values()) >= TURNED
    ports = {key: max(sum(p == key for p, _ in pairs), sum(c == key for _, c in pairs)) for key in graph.nodes}
    boxes = {key: _box(node, ports[key], turned) for key, node in graph.nodes.items()}
    breadths = {key: box.width if turned else box.height for key, box in boxes.items()}
    layout = arrange(graph.target, pairs, breadths, GAP)
    depths = _depths(boxes, layout, turned)
    middles = {}
    for key, (layer, along) in layout.places.items():
        middles[key] = (along, -depths[layer]) if turned else (-depths[layer], along)
    return Plan(boxes, middles, _paths(pairs, boxes, layout, depths, turned), turned)


def _depths(boxes: dict[str, Box], layout: Layout, turned: bool) -> list[float]:
    """How far from the target the middle of each layer lies."""
    sizes = [0.0] * (1 + max(layer for layer, _ in layout.places.values()))
    for key, (layer, _) in layout.places.items():
        sizes[layer] = max(sizes[layer], boxes[key].height if turned else boxes[key].width)
    found = [0.0]
    for one, other in itertools.pairwise(sizes):
        found.append(found[-1] + (one + other) / 2 + (DROP if turned else BETWEEN))
    return found


def _paths(
    pairs: list[tuple[str, str]], boxes: dict[str, Box], layout: Layout, depths: list[float], turned: bool
) -> list[list[Point]]:
    starts, ends = _ports(pairs, boxes, layout, turned)
    paths = []
    for index, (parent, child) in enumerate(pairs):
        (older, _), (younger, _) = layout.places[parent], layout.places[child]
        half = [(boxes[key].height if turned else boxes[key].width) / 2 for key in (parent, child)]
        points = [(-depths[older] + half[0], starts[index])]
        for step, along in enumerate(layout.routes[index], 1):
            room = 0.3 if turned else WIDTH / 2
            points += [(-depths[older - step] - room, along), (-depths[older - step] + room, along)]
        points.append((-depths[younger] - half[1], ends[index]))
        paths.append([(along, depth) for depth, along in points] if turned else points)
    return paths


def _ports(
    pairs: list[tuple[str, str]], boxes: dict[str, Box], layout: Layout, turned: bool
) -> tuple[list[float], list[float]]:
    """Where every edge leaves its parent and meets its child: side by side, in the order of where they go."""
    starts, ends = [0.0] * len(pairs), [0.0] * len(pairs)
    for key, (_, along) in layout.places.items():
        leaving = [i for i, (parent, _) in enumerate(pairs) if parent == key]
        leaving.sort(key=lambda i: (layout.routes[i] or (layout.places[pairs[i][1]][1],))[0])
        coming = [i for i, (_, child) in enumerate(pairs) if child == key]
        coming.sort(key=lambda i: (layout.routes[i] or (layout.places[pairs[i][0]][1],))[-1])
        room = (boxes[key].width if turned else boxes[key].height) - 0.1
        for found, where in ((leaving, starts), (coming, ends)):
            step = min(TURNED_PORT if turned else PORT, room / max(len(found), 1))
            for rank, index in enumerate(found):
                where[index] = along + step * (rank - (len(found) - 1) / 2)
    return starts, ends


def _box(node: Node, ports: int, turned: bool) -> Box:
    name, *rest = lines(node)
    title = _wrapped(name, 3)
    text = [*title, *(line for part in rest for line in _wrapped(part, 2))]
    height = TEXT * len(text) + 0.22
    if turned:
        return Box(tuple(text), len(title), max(WIDTH, TURNED_PORT * ports + 0.1), height)
    return Box(tuple(text), len(title), WIDTH, max(height, PORT * ports + 0.1))


def _wrapped(text: str, most: int) -> list[str]:
    """Lines of at most ``ROW`` letters, broken behind spaces, hyphens and underscores where there are any."""
    found, line = [], ""
    for part in re.split(r"(?<=[ _\-])", text):
        if line and len(line) + len(part.rstrip()) > ROW:
            found.append(line)
            line = ""
        while len(part) > ROW:
            found.append(part[:ROW])
            part = part[ROW:]
        line += part
    found = [one.strip() for one in [*found, line] if one.strip()] or [text]
    return found if len(found) <= most else [*found[: most - 1], found[most - 1][: ROW - 1] + "…"]


def _node(axes: Axes, node: Node, box: Box, middle: Point, target: bool, family: list[str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = middle
    patch = FancyBboxPatch(
        (x - box.width / 2, y - box.height / 2),
        box.width,
        box.height,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=FILLS[node.kind],
        edgecolor=EDGES[node.kind],
        linewidth=2.4 if target else 1.1,
        linestyle="--" if node.kind == HEADER else "-",
        zorder=3,
    )
    axes.add_patch(patch)
    top = y - TEXT * (len(box.text) - 1) / 2
    for index, text in enumerate(box.text):
        name = index < box.title
        style: dict[str, Any] = {"fontsize": 9, "fontweight": "bold", "color": INK}
        style = style if name else {"fontsize": 8, "color": SOFT}
        shown = text.replace("$", r"\$")
        axes.text(x, top + TEXT * index, shown, ha="center", va="center", family=family, zorder=4, **style)


def _edge(axes: Axes, edge: Edge, points: list[Point], turned: bool, family: list[str]) -> None:
    _curve(axes, points, turned)
    if edge.label:
        x, y = points[0]
        axes.text(
            *((x, y + 0.13) if turned else (x + 0.07, y)),
            edge.label,
            ha="center" if turned else "left",
            va="center",
            fontsize=7.5,
            color=INK,
            family=family,
            zorder=5,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.8},
        )


def _curve(axes: Axes, points: list[Point], turned: bool) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    corners, codes = [points[0]], [Path.MOVETO]
    for index, (a, b) in enumerate(itertools.pairwise(points)):
        if index % 2:  # straight through a layer
            corners.append(b)
            codes.append(Path.LINETO)
            continue
        half = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
        corners += [(a[0], half[1]), (b[0], half[1]), b] if turned else [(half[0], a[1]), (half[0], b[1]), b]
        codes += [Path.CURVE4] * 3
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.0, "color": LINE}
    axes.add_patch(FancyArrowPatch(path=Path(corners, codes), shrinkA=0, shrinkB=0, zorder=2, **style))


def _fonts() -> list[str]:
    """Those of ``FONTS`` that are here: letters that one lacks come from the next."""
    from matplotlib import font_manager

    here = set(font_manager.get_font_names())
    return [name for name in FONTS if name in here] or ["sans-serif"]
