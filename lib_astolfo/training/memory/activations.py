"""What the forward pass keeps for the backward pass, counted layer by layer.

What is counted is what PyTorch's operators save, with attention that keeps no matrix (flash, memory-efficient):
normalisations their input, SiLU and GELU theirs, convolutions and linear layers theirs, products both sides, attention
its queries, keys, values and result. Weights are not counted here. With autocast, normalisations are float32 and every
layer behind one gets a 16-bit copy of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_astolfo.training.memory.unet import Layer

FULL = 4  # bytes of float32


@dataclass(frozen=True)
class Shape:
    """What a step sees: ``batch`` pictures, ``tokens`` of text with ``context`` channels; ``size`` bytes of an
    activation; ``mixed``: autocast over float32."""

    batch: int
    tokens: int
    context: int
    size: int
    mixed: bool = False

    def norm(self) -> int:
        """Bytes that an element costs that a normalisation reads, and what it gives to a function that reads that."""
        return 2 * FULL if self.mixed else 2 * self.size

    def read(self, readers: int = 1) -> int:
        """Bytes of what ``readers`` layers keep of an element that is not kept already: of a normalised or activated
        one, with autocast a copy for each."""
        return self.size * (readers if self.mixed else 1)


@dataclass(frozen=True)
class Kept:
    """Bytes of one layer. ``inside``: within blocks that can be computed again; ``most``: the largest of these
    blocks; ``entries``: their inputs, which stay; ``outside``: the rest."""

    inside: int = 0
    most: int = 0
    entries: int = 0
    outside: int = 0


def kept(layer: Layer, shape: Shape) -> Kept:
    """Of one layer."""
    return {"res": _res, "transformer": _transformer}.get(layer.kind, _other)(layer, shape)


def total(layers: Sequence[Layer], shape: Shape, *, checkpointing: bool, first: str = "") -> int:
    """Bytes kept at the most. ``first``: the name of the first layer that anything is trained in; before it nothing is
    kept. ``checkpointing``: ResBlocks and transformer blocks are computed again, one at a time."""
    names = [layer.name for layer in layers]
    start = names.index(first) if first in names else 0
    each = [kept(layer, shape) for layer in layers[start:]]
    outside = sum(one.outside for one in each)
    if not checkpointing:
        return outside + sum(one.inside for one in each)
    return outside + sum(one.entries for one in each) + max((one.most for one in each), default=0)


def _res(layer: Layer, shape: Shape) -> Kept:
    """Norm, SiLU, convolution, twice; with the input they begin from."""
    pixels = shape.batch * layer.pixels
    entry = pixels * layer.channels * shape.size
    half = shape.norm() + shape.read()
    inside = pixels * (layer.channels + layer.out) * half
    return Kept(inside, inside - entry, entry)


def _transformer(layer: Layer, shape: Shape) -> Kept:
    """Norm and projection, blocks of self-attention, cross-attention and GEGLU, projection."""
    tokens = shape.batch * layer.pixels
    entry = tokens * layer.channels * shape.size
    statistics = 3 * 2 * FULL * tokens  # of three normalisations
    own = tokens * layer.channels * _block(shape) + statistics
    text = 2 * shape.batch * shape.tokens * (layer.channels + (shape.context if shape.mixed else 0)) * shape.size
    block = own + text
    around = tokens * layer.channels * (FULL if shape.mixed else shape.size)  # what the first norm reads
    around += 2 * entry  # what both projections read
    return Kept(layer.depth * block, block - entry, layer.depth * entry, around)


def _block(shape: Shape) -> int:
    """Bytes for each element of a transformer block's width."""
    size, before = shape.size, FULL if shape.mixed else shape.size  # what a norm reads
    attention = before + shape.read(3) + 3 * size + size
    cross = before + shape.read() + size + size
    forward = before + shape.read() + 8 * size + 4 * size + 4 * size
    return attention + cross + forward


def _other(layer: Layer, shape: Shape) -> Kept:
    """A convolution reads what comes in, behind an upsampling four times as much; the head has a norm before it."""
    elements = shape.batch * layer.pixels * layer.channels
    if layer.kind == "up":
        return Kept(outside=4 * elements * shape.size)
    if layer.kind == "head":
        return Kept(outside=elements * (shape.norm() + shape.read()))
    return Kept(outside=elements * shape.size)
