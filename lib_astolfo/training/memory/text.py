"""Activations of text encoders that are trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lib_astolfo.checkpoints.blocks import component_of

WIDTHS = 20  # kept for each token and layer: norms, queries, keys, values, result, and five times four for the GELU
_LAYER = re.compile(r"(?:encoder\.layers|transformer\.resblocks)\.(\d+)\.")
_NORM = re.compile(r"(?:layer_norm1|ln_1)\.weight")


def kept(shapes: Mapping[str, tuple[int, ...]], trained: Iterable[str], tokens: int, size: int) -> int:
    """Bytes for ``tokens`` in all, of the layers from the first that is trained on; 0 where none is."""
    total = 0
    for component in ("te1", "te2"):
        numbers = [_number(name) for name in trained if component_of(name) == component]
        if not numbers:
            continue
        held = [name for name in shapes if component_of(name) == component and _NORM.search(name)]
        total += sum(WIDTHS * shapes[name][0] * tokens * size for name in held if _number(name) >= min(numbers))
    return total


def _number(name: str) -> int:
    """The layer of a tensor; -1 for what comes before the layers, or after them."""
    found = _LAYER.search(name)
    return int(found[1]) if found else -1
