"""Merge methods: pure functions on tensors, in one plain dict under sd-mecha's names.

An entry is called as ``METHODS[name](*tensors, **options)``.  The engine hands it what its ``unit`` allows: any part of
a tensor, whole rows, or whole tensors; figures of the whole tensor that it needs are gathered before, part by part
(``measures``).  An entry with ``space = "delta"`` takes differences from a base and returns one; the engine subtracts
and adds the base.
"""

from __future__ import annotations

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.families import (
    angles,
    breadcrumbs,
    dropouts,
    frequencies,
    powers,
    robust,
    rotation,
    single,
    slices,
    smoothing,
    sparse,
    spectral,
    sums,
    supermerger,
)
from lib_astolfo.merging.lora import method as lora
from lib_astolfo.merging.method import Method

_FAMILIES = (
    sums,
    angles,
    powers,
    slices,
    frequencies,
    smoothing,
    supermerger,
    single,
    sparse,
    breadcrumbs,
    dropouts,
    robust,
    spectral,
    rotation,
    lora,
)

METHODS: dict[str, Method] = {method.name: method for family in _FAMILIES for method in family.METHODS}


def get(name: str) -> Method:
    """The entry of that name; BadInput lists the names."""
    if name not in METHODS:
        raise BadInput("method", name, f"one of {', '.join(sorted(METHODS))}")
    return METHODS[name]
