"""Methods that turn on angles between whole tensors or their columns."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.merging.families import columns
from lib_astolfo.merging.families.blockwise import blocks, combine_into, dots, entry
from lib_astolfo.merging.method import Measure, Method, Place

#: Below this sine two tensors point in opposite directions, and no plane is given in which to turn.
_OPPOSITE = 1e-6


def _lengths(a: Tensor, b: Tensor, *, place: Place, **_options: Any) -> Tensor:
    """‖A‖², ⟨A, B⟩, ‖B‖² of a part; shape [3]."""
    return dots(a.contiguous(), b.contiguous())


def _lengths_from_c(a: Tensor, b: Tensor, c: Tensor, *, place: Place, **_options: Any) -> Tensor:
    """‖A - C‖², ⟨A - C, B - C⟩, ‖B - C‖² of a part; shape [3]."""
    aa = ab = bb = 0.0
    dtype = torch.promote_types(a.dtype, torch.float32)
    inputs = (tensor.to(dtype).contiguous() for tensor in (a, b, c))
    for part_a, part_b, part_c, x, y in blocks(*inputs, spare=2, dtype=torch.float64):
        x.copy_(part_a - part_c)
        y.copy_(part_b - part_c)
        aa += float(x.dot(x))
        ab += float(x.dot(y))
        bb += float(y.dot(y))
    return torch.tensor([aa, ab, bb], dtype=torch.float64, device=a.device)


def slerp_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float, place: Place) -> None:
    """out = (sin((1 - alpha)·w)·A/‖A‖ + sin(alpha·w)·B/‖B‖) / sin w·((1 - alpha)·‖A‖ + alpha·‖B‖), w the angle between
    A and B as one vector each.

    The weighted sum where that is not defined: a zero tensor, or two that point in opposite directions.
    """
    combine_into(out, a, b, *slerp_weights(place.measured[0], alpha))


def slerp_weights(lengths: Tensor, alpha: float) -> tuple[float, float]:
    """What A and B are multiplied by."""
    aa, ab, bb = lengths.tolist()
    if not math.isfinite(aa + bb):
        return math.nan, math.nan
    norm_a, norm_b = math.sqrt(aa), math.sqrt(bb)
    cosine = max(-1.0, min(1.0, ab / norm_a / norm_b)) if norm_a and norm_b else 1.0
    angle = math.acos(cosine)
    sine = math.sin(angle)
    if sine == 0 or (cosine < 0 and sine < _OPPOSITE):
        return 1 - alpha, alpha
    size = (1 - alpha) * norm_a + alpha * norm_b
    return (
        math.sin((1 - alpha) * angle) / sine * (size / norm_a),
        math.sin(alpha * angle) / sine * (size / norm_b),
    )


def _share(lengths: Tensor) -> float:
    """How much of the first vector the second holds: ⟨a, b⟩ / ‖a‖²; 0 for a zero vector."""
    aa, ab, _ = lengths.tolist()
    return ab / aa if aa else 0.0


def add_perpendicular_into(out: Tensor, a: Tensor, b: Tensor, c: Tensor, *, alpha: float, place: Place) -> None:
    """out = A + alpha·((B - C) - (A - C)·⟨A - C, B - C⟩ / ‖A - C‖²).

    Where A is C all of B - C is added: nothing of it points along A - C (sd-mecha adds nothing then).
    """
    share = _share(place.measured[0])
    for to, x, y, z, along in blocks(out, a, b, c, spare=1):
        torch.sub(x, z, out=along)
        torch.sub(y, z, out=to).sub_(along, alpha=share)
        torch.add(x, to, alpha=alpha, out=to)


def perpendicular_component_into(out: Tensor, a: Tensor, b: Tensor, *, place: Place) -> None:
    """out = B - A·⟨A, B⟩ / ‖A‖²; all of B where A is zero (sd-mecha: nothing)."""
    share = _share(place.measured[0])
    for to, x, y in blocks(out, a, b):
        torch.sub(y, x, alpha=share, out=to)


def add_cosine_a_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float, place: Place) -> None:
    """out = (1 - k)·A + k·B, k = 1 - clip(s - alpha, 0, 1), s the cosine between the columns of A and B.

    A column holds the elements of one index in all dimensions but the first. s = 0 for a zero column.
    """
    columns.lerp_into(out, a, b, 1 - (columns.cosines(place.measured[0]) - alpha).clamp(0, 1))


def add_cosine_b_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float, place: Place) -> None:
    """As ``add_cosine_a`` with s the mean of the columns' cosine and that of the whole tensors (0 for a zero tensor,
    where sd-mecha gives NaN)."""
    similarity = (columns.cosines(place.measured[0]) + columns.whole_cosine(place.measured[0])) / 2
    columns.lerp_into(out, a, b, 1 - (similarity - alpha).clamp(0, 1))


METHODS: tuple[Method, ...] = (
    entry(
        "slerp",
        slerp_into,
        ("a", "b"),
        options={"alpha": 0.5},
        measures=(Measure(_lengths),),
        placed=True,
        formula="A turned towards B by ratio of the angle between them, at the length (1 - ratio)·‖A‖ + ratio·‖B‖",
        reference="Shoemake 1985, doi:10.1145/325165.325242; sd-mecha 1.1.8 linear.py, slerp",
    ),
    entry(
        "add_perpendicular",
        add_perpendicular_into,
        ("a", "b", "c"),
        options={"alpha": 1.0},
        measures=(Measure(_lengths_from_c),),
        placed=True,
        formula="A + ratio·(the part of B - C that is perpendicular to A - C)",
        reference="sd-mecha 1.1.8 wrappers.py, add_perpendicular",
    ),
    entry(
        "perpendicular_component",
        perpendicular_component_into,
        ("a", "b"),
        measures=(Measure(_lengths),),
        placed=True,
        formula="the part of B that is perpendicular to A",
        reference="sd-mecha 1.1.8 linear.py, perpendicular_component",
    ),
    entry(
        "add_cosine_a",
        add_cosine_a_into,
        ("a", "b"),
        options={"alpha": 1.0},
        unit="row",
        measures=(Measure(columns.products, unit="row"),),
        placed=True,
        formula="(1 - k)·A + k·B, k = 1 - clip(cosine of the columns - ratio, 0, 1)",
        reference="sd-mecha 1.1.8 cosine.py, add_cosine_a",
    ),
    entry(
        "add_cosine_b",
        add_cosine_b_into,
        ("a", "b"),
        options={"alpha": 1.0},
        unit="row",
        measures=(Measure(columns.products, unit="row"),),
        placed=True,
        formula="(1 - k)·A + k·B, k = 1 - clip(mean of the columns' cosine and the tensors' - ratio, 0, 1)",
        reference="sd-mecha 1.1.8 cosine.py, add_cosine_b",
    ),
)
