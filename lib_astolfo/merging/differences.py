"""How far two checkpoints are from each other: L2 distance, relative distance, cosine and largest change, by key,
block, part and kind of layer; and how both moved away from a base."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lib_astolfo.checkpoints.blocks import BLOCKS, OTHER, VAE_BLOCK, block_of, component_of
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.prediction import layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.grams import Gram, difference, grams
from lib_astolfo.merging.workers import Progress

#: Kinds of layers by what a UNet key's name contains; the first that fits counts.
KINDS = (
    ("attn1", "self attention"),
    ("attn2", "cross attention"),
    (".ff.", "feed forward"),
    ("emb_layers", "embeddings"),
    ("time_embed", "embeddings"),
    ("label_emb", "embeddings"),
    ("norm", "norms"),
    ("in_layers.0", "norms"),
    ("out_layers.0", "norms"),
    ("diffusion_model.out.0", "norms"),
    ("proj_", "projections"),
)
CONVOLUTIONS = "convolutions"


@dataclass(frozen=True)
class Distance:
    """Between a and b over ``elements`` values.

    ``l2`` = ‖b - a‖, ``relative`` = ‖b - a‖ / ‖a‖, ``cosine`` of a and b, ``largest`` = max |b - a|. With a base:
    ``moved_a`` = ‖a - base‖, ``moved_b``, and ``cosine_moved`` of a - base and b - base. None where it is 0/0.
    """

    elements: int
    l2: float
    relative: float | None
    cosine: float | None
    largest: float
    norm: float
    moved_a: float | None = None
    moved_b: float | None = None
    cosine_moved: float | None = None


@dataclass(frozen=True)
class Differences:
    """``keys`` in a's order, ``blocks`` in the layout's; ``parts``: unet, te1, te2, vae; ``kinds``: the UNet's layers.

    ``only_a``, ``only_b``, ``shapes`` (key to both shapes) and ``not_finite`` are not compared. Position ids and keys
    of no block are, but are in no sum.
    """

    keys: Mapping[str, Distance]
    blocks: Mapping[str, Distance]
    parts: Mapping[str, Distance]
    kinds: Mapping[str, Distance]
    total: Distance
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    shapes: Mapping[str, str] = field(default_factory=dict)
    not_finite: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def distances(self) -> dict[str, Any]:
        """In the form of 6DammK9's lists: da and db, the keys of one alone, err, those of two shapes, kv, key to L2."""
        kv = {name: one.l2 for name, one in sorted(self.keys.items())}
        return {"da": sorted(self.only_a), "db": sorted(self.only_b), "err": sorted(self.shapes), "kv": kv}

    def top(self, count: int) -> list[str]:
        """The keys that differ most, by relative distance."""
        return sorted(self.keys, key=lambda name: -_sortable(self.keys[name].relative, self.keys[name].l2))[:count]


def compare(
    a: CheckpointFile,
    b: CheckpointFile,
    base: CheckpointFile | None = None,
    *,
    threads: int = 2,
    progress: Progress | None = None,
) -> Differences:
    """Compare two checkpoints, of any dtypes, and their ways from a base if one is given.

    Keys that the base lacks, or has in another shape, are compared without it.
    Raises BadInput if a is no checkpoint or if they have nothing in common, Failed on I/O.
    """
    layout = layout_of(a)
    shared = [name for name, info in a.tensors.items() if _comparable(b, name, info.shape) and info.elements]
    shapes = {
        name: f"{list(info.shape)} and {list(b.tensors[name].shape)}"
        for name, info in a.tensors.items()
        if name in b.tensors and b.tensors[name].shape != info.shape
    }
    if not shared:
        raise BadInput(b.path, "no tensor in common", f"a checkpoint like {a.path.name}")
    with_base = [name for name in shared if base is not None and _comparable(base, name, a.tensors[name].shape)]
    pair = [{0: 1.0}, {1: 1.0}, difference(1, 0)]
    found: dict[str, Gram] = {}
    if base is not None and with_base:
        rows = [*pair, difference(0, 2), difference(1, 2)]
        found |= grams([a, b, base], rows, with_base, threads=threads, largest=(2,), progress=progress)
    rest = [name for name in shared if name not in found]
    if rest:
        found |= grams([a, b], pair, rest, threads=threads, largest=(2,), progress=progress)
    found = {name: found[name] for name in shared}
    bad = tuple(name for name, gram in found.items() if not gram.finite)
    good = {name: gram for name, gram in found.items() if name not in bad}
    weights = {
        name: gram for name, gram in good.items() if component_of(name) != "other" and not name.endswith("position_ids")
    }
    return Differences(
        keys={name: _distance([gram]) for name, gram in good.items()},
        blocks=_grouped(weights, {name: block_of(name, layout) for name in weights}, order(layout)),
        parts=_grouped(weights, {name: component_of(name) for name in weights}, ("unet", "te1", "te2", "vae")),
        kinds=_grouped(weights, {name: kind_of(name) for name in weights if component_of(name) == "unet"}),
        total=_distance(list(weights.values())),
        only_a=tuple(name for name in a.tensors if name not in b.tensors),
        only_b=tuple(name for name in b.tensors if name not in a.tensors),
        shapes=shapes,
        not_finite=bad,
    )


def order(layout: Layout) -> tuple[str, ...]:
    """All blocks of a layout: those of a weight list, the VAE, and what belongs to none."""
    return (*BLOCKS[layout.family], VAE_BLOCK, OTHER)


def kind_of(name: str) -> str:
    """What kind of layer a UNet key belongs to."""
    return next((kind for part, kind in KINDS if part in name), CONVOLUTIONS)


def _comparable(file: CheckpointFile, name: str, shape: tuple[int, ...]) -> bool:
    return name in file.tensors and file.tensors[name].shape == shape


def _sortable(relative: float | None, l2: float) -> float:
    return relative if relative is not None else math.inf if l2 else 0.0


def _grouped(found: Mapping[str, Gram], group: Mapping[str, str], names: Iterable[str] = ()) -> dict[str, Distance]:
    """Sums over groups of keys, in the order of ``names``, or of first appearance."""
    members: dict[str, list[Gram]] = {name: [] for name in names}
    for name, where in group.items():
        members.setdefault(where, []).append(found[name])
    return {where: _distance(parts) for where, parts in members.items() if parts}


def _distance(parts: Sequence[Gram]) -> Distance:
    """The figures over all these keys; those against the base only if every one has it."""
    based = all(len(part.products) == 5 for part in parts)
    size = 5 if based else 3
    total = Gram.empty(size)
    for part in parts:
        total += Gram(part.elements, part.products[:size, :size], part.largest[:size])
    p = total.products.tolist()
    result = Distance(
        elements=total.elements,
        l2=math.sqrt(p[2][2]),
        relative=ratio(math.sqrt(p[2][2]), math.sqrt(p[0][0])),
        cosine=cosine(p[0][1], p[0][0], p[1][1]),
        largest=float(total.largest[2]),
        norm=math.sqrt(p[0][0]),
    )
    if not based:
        return result
    moved = cosine(p[3][4], p[3][3], p[4][4])
    return replace(result, moved_a=math.sqrt(p[3][3]), moved_b=math.sqrt(p[4][4]), cosine_moved=moved)


def ratio(value: float, of: float) -> float | None:
    """value / of; None for a division by zero unless both are, which is 0: no difference."""
    return value / of if of else None if value else 0.0


def cosine(product: float, square_a: float, square_b: float) -> float | None:
    """Cosine of the angle between two vectors, kept within -1 to 1; None if one of them is zero."""
    if not square_a or not square_b:
        return None
    return max(-1.0, min(1.0, product / math.sqrt(square_a * square_b)))
