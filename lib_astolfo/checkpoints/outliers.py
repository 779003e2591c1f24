"""Tensors whose values are unlike those of their kind, and values near the end of half precision's range.

A kind is a place in the network, as all ``attn2.to_k.weight`` of the UNet. The spread within a kind is measured by the
median distance from the median of log rms, so that a few broken tensors do not hide each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from statistics import median

from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.checkpoints.findings import Finding, count, some
from lib_astolfo.checkpoints.values import Figures

HALF_MAX = 65504.0
LARGE = 1000.0  # no published SD1, SD2 or SDXL weight is near it
LEAST_PEERS = 4
FACTOR = 30.0  # rms away from the median of the kind
SPREADS = 8.0  # and as many times the usual distance

_PLACES = (
    (re.compile(r"(input_blocks|output_blocks)\.\d+\.\d+|middle_block\.\d+"), "block"),
    (re.compile(r"(?<![a-z_])(transformer_blocks|layers|resblocks|down|up|block)\.\d+"), r"\1"),
)


def kind_of(name: str) -> str:
    """The name without the numbers that say which of many alike it is."""
    for pattern, word in _PLACES:
        name = pattern.sub(word, name)
    return name


def look(figures: Mapping[str, Figures], shapes: Mapping[str, tuple[int, ...]]) -> list[Finding]:
    """Findings on scale: beyond fp16, near its end, zero, and unlike the kind."""
    return [*_range(figures), *_zeros(figures, shapes), *_unlike(figures)]


def _range(figures: Mapping[str, Figures]) -> list[Finding]:
    tops = {name: one.largest for name, one in figures.items() if component_of(name) != "other"}
    beyond = [name for name, top in tops.items() if top > HALF_MAX]
    near = [name for name, top in tops.items() if HALF_MAX / 2 <= top <= HALF_MAX]
    large = [name for name, top in tops.items() if LARGE <= top < HALF_MAX / 2]
    found = []
    for severity, code, names, why in (
        (
            "error",
            "beyond_half",
            beyond,
            "beyond fp16: infinite as soon as a host loads the file in half precision",
        ),
        ("warning", "near_half", near, "so near the end of fp16 that a merge that doubles it overflows"),
        ("note", "large", large, "far above what published weights have; deep merges of such models grow further"),
    ):
        if names:
            shown = some([f"{name} {tops[name]:.4g}" for name in sorted(names, key=lambda name: -tops[name])])
            found.append(Finding(severity, code, f"values of {shown}, {why}", tuple(names)))
    return found


def _zeros(figures: Mapping[str, Figures], shapes: Mapping[str, tuple[int, ...]]) -> list[Finding]:
    zero = [
        name
        for name, one in figures.items()
        if not one.largest and not one.nan and not one.infinite and len(shapes[name]) > 1 and one.elements > 1
    ]
    found = []
    for severity, components in (("warning", ("unet", "te1", "te2")), ("note", ("vae",))):
        names = [name for name in zero if component_of(name) in components]
        if names:
            text = f"{count(len(names), 'weight')} with nothing but zeros ({some(names)}): that layer does nothing"
            found.append(Finding(severity, "zeros", text, tuple(names)))
    return found


def _unlike(figures: Mapping[str, Figures]) -> list[Finding]:
    kinds: dict[str, dict[str, float]] = {}
    for name, one in figures.items():
        if one.rms > 0 and component_of(name) != "other":
            kinds.setdefault(kind_of(name), {})[name] = math.log(one.rms)
    odd: dict[str, float] = {}
    for sizes in kinds.values():
        if len(sizes) > LEAST_PEERS:
            middle = median(sizes.values())
            spread = median(abs(size - middle) for size in sizes.values())
            limit = max(math.log(FACTOR), SPREADS * spread)
            odd.update({name: size - middle for name, size in sizes.items() if abs(size - middle) > limit})
    if not odd:
        return []
    names = sorted(odd, key=lambda name: -abs(odd[name]))
    shown = some([f"{name} ×{math.exp(odd[name]):.3g}" for name in names])
    text = f"{count(len(names), 'tensor')} whose values are far from those of their kind: {shown}"
    return [Finding("warning", "scale", text, tuple(names))]
