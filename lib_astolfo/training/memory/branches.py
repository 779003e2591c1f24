"""What the branches of LoRA and LoKr keep beside the layers they stand at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib_astolfo.checkpoints.layout import UNET
from lib_astolfo.training.memory.activations import Shape
from lib_astolfo.training.memory.unet import Layer
from lib_astolfo.training.memory.weights import block_of

Held = Mapping[str, list[tuple[int, ...]]]


def kept(layers: Sequence[Layer], held: Held, shape: Shape, *, lokr: bool, checkpointing: bool) -> int:
    """Bytes at the most; in checkpointed blocks those of the largest alone."""
    places = {layer.name: layer for layer in layers}
    inside: dict[str, int] = {}
    outside = 0
    for name, tensors in held.items():
        layer = places.get(_place(name))
        if layer is None:
            continue
        size = _rows(name, layer, shape) * _width(tensors, lokr) * shape.size
        block = block_of(name) if checkpointing else ""
        if block:
            inside[block] = inside.get(block, 0) + size
        else:
            outside += size
    return outside + max(inside.values(), default=0)


def _place(name: str) -> str:
    """The name of its layer."""
    parts = name.removeprefix(UNET).split(".")
    return ".".join(parts[: 2 if parts[0] == "middle_block" else 3])


def _rows(name: str, layer: Layer, shape: Shape) -> int:
    """Tokens or pixels that the layer of a weight is called with."""
    if "emb_layers" in name:
        return shape.batch
    if "attn2.to_k" in name or "attn2.to_v" in name:
        return shape.batch * shape.tokens
    return shape.batch * layer.pixels


def _width(tensors: Sequence[tuple[int, ...]], lokr: bool) -> int:
    """Numbers for each row: LoRA's product with the first matrix; LoKr's products with the parts of the larger factor,
    in groups of as many as the smaller one is wide, which are put in another order between the factors."""
    if not lokr:
        return tensors[0][0]
    groups = tensors[0][1]
    return groups * sum(factor[0] for factor in tensors[1:])
