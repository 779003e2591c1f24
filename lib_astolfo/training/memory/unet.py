"""The UNet of a checkpoint as a row of layers with their sizes, read from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lib_astolfo.checkpoints.layout import UNET
from lib_astolfo.errors import BadInput

Shapes = Mapping[str, tuple[int, ...]]
_PLACE = re.compile(r"((?:input_blocks|output_blocks)\.\d+\.\d+|middle_block\.\d+)\.(.+)")


@dataclass(frozen=True)
class Layer:
    """One layer and what comes in: ``channels`` at ``rows`` x ``columns``.

    ``kind``: conv, res, transformer, down, up, head. ``out``: channels that go out. ``depth``: transformer blocks.
    ``name``: where its tensors are, without the UNet's own prefix.
    """

    name: str
    kind: str
    channels: int
    out: int
    rows: int
    columns: int
    depth: int = 0

    @property
    def pixels(self) -> int:
        """Of what comes in."""
        return self.rows * self.columns


def layers(shapes: Shapes, rows: int, columns: int) -> list[Layer]:
    """All layers in the order they are computed for latents of ``rows`` x ``columns``.

    Raises BadInput for tensors that are not those of an ldm UNet.
    """
    parts = _parts(shapes)
    walk = _Walk(parts, rows, columns)
    for name in sorted((name for name in parts if name.startswith("input")), key=_order):
        walk.take(name, after=_is_last(name, parts))
    for name in sorted((name for name in parts if name.startswith("middle")), key=_order):
        walk.take(name)
    for name in sorted((name for name in parts if name.startswith("output")), key=_order):
        if name.rsplit(".", 1)[1] == "0":
            walk.join()
        walk.take(name)
    head = shapes.get(f"{UNET}out.2.weight")
    if head is None or not walk.found:
        raise BadInput("the model", "tensors that are no UNet's", f"names that begin with {UNET}")
    walk.found.append(Layer("out", "head", walk.channels, head[0], walk.rows, walk.columns))
    return walk.found


def context(shapes: Shapes) -> int:
    """Channels of the text that cross-attention reads, 0 without any."""
    found = [shape[1] for name, shape in shapes.items() if name.startswith(UNET) and name.endswith("attn2.to_k.weight")]
    return max(found, default=0)


class _Walk:
    """Channels and sizes on the way."""

    def __init__(self, parts: Mapping[str, Shapes], rows: int, columns: int) -> None:
        self.parts, self.rows, self.columns, self.channels = parts, rows, columns, 0
        self.skips: list[int] = []
        self.found: list[Layer] = []

    def take(self, name: str, *, after: bool = False) -> None:
        """One layer; ``after``: what goes out is kept for the way up."""
        own = self.parts[name]
        kind, out, depth = _kind(own, self.channels)
        into = self.channels
        if kind == "conv":
            into = own["weight"][1]
        self.found.append(Layer(name, kind, into, out, self.rows, self.columns, depth))
        self.channels = out
        if kind == "down":
            self.rows, self.columns = (self.rows + 1) // 2, (self.columns + 1) // 2
        if kind == "up":
            self.rows, self.columns = self.rows * 2, self.columns * 2
        if after:
            self.skips.append(out)

    def join(self) -> None:
        """What was kept comes in too."""
        self.channels += self.skips.pop()


def _kind(own: Shapes, channels: int) -> tuple[str, int, int]:
    """(kind, channels that go out, depth)."""
    if "in_layers.2.weight" in own:
        return "res", own["in_layers.2.weight"][0], 0
    depth = len({name.split(".")[1] for name in own if name.startswith("transformer_blocks.")})
    if depth:
        return "transformer", channels, depth
    if "op.weight" in own:
        return "down", own["op.weight"][0], 0
    if "conv.weight" in own:
        return "up", own["conv.weight"][0], 0
    if "weight" in own:
        return "conv", own["weight"][0], 0
    raise BadInput("the model", f"a block with {sorted(own)[0]}", "blocks of an SD1, SD2 or SDXL UNet")


def _parts(shapes: Shapes) -> dict[str, dict[str, tuple[int, ...]]]:
    """Place in the UNet -> the rest of the name -> shape."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        place = _PLACE.fullmatch(name.removeprefix(UNET)) if name.startswith(UNET) else None
        if place is not None:
            found.setdefault(place[1], {})[place[2]] = tuple(shape)
    return found


def _order(name: str) -> list[int]:
    return [int(word) for word in name.split(".")[1:]]


def _is_last(name: str, parts: Mapping[str, Shapes]) -> bool:
    """Whether no other layer of the same block follows."""
    block, at = name.rsplit(".", 1)
    return f"{block}.{int(at) + 1}" not in parts


def first(layers: list[Layer], trained: Iterable[str]) -> str:
    """The name of the first layer that a trained tensor is in; "" for all of them, as the embeddings of time and size
    reach every block."""
    names = [name.removeprefix(UNET) for name in trained if name.startswith(UNET)]
    if any(name.startswith(("time_embed", "label_emb")) for name in names) or not names:
        return ""
    return next((layer.name for layer in layers if any(name.startswith(layer.name + ".") for name in names)), "")
