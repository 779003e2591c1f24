"""What the engine does around a method: a difference scaled, models weighted, a tensor scaled or shifted by ``adjust``.

Not in METHODS: recipes have other words for them (a ratio per model, ``adjust``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib_astolfo.merging.method import Method


def scale(a: Tensor, *, by: float) -> Tensor:
    """A·by, for any shape."""
    return a * by


def weighted_mean(*tensors: Tensor, **weights: float) -> Tensor:
    """Σ wᵢ·Tᵢ / Σ wᵢ, for any shape; the weights are the options in the order of their names."""
    out = torch.empty_like(tensors[0])
    weighted_mean_into(out, *tensors, **weights)
    return out


def weighted_mean_into(out: Tensor, *tensors: Tensor, **weights: float) -> None:
    """The same into ``out``, which is none of the tensors."""
    values = [weights[name] for name in sorted(weights)]
    total = sum(values)
    torch.mul(tensors[0], values[0] / total, out=out)
    for tensor, weight in zip(tensors[1:], values[1:], strict=True):
        out.add_(tensor, alpha=weight / total)


def weight_options(weights: tuple[float, ...]) -> dict[str, float]:
    """The options of ``weighted_mean``, whose names sort in the order of the models."""
    return {f"w{index:04}": weight for index, weight in enumerate(weights)}


def shift(a: Tensor, **by: float) -> Tensor:
    """A [n] plus n numbers, the options in the order of their names."""
    return a + torch.tensor([by[name] for name in sorted(by)], dtype=a.dtype, device=a.device)


METHODS: dict[str, Method] = {
    "scale": Method(
        "scale", scale, ("a",), {"by": 1.0}, into=lambda out, a, *, by: torch.mul(a, by, out=out), formula="by·A"
    ),
    "weighted_mean": Method(
        "weighted_mean", weighted_mean, ("a",), many=True, into=weighted_mean_into, formula="Σ wᵢ·Mᵢ / Σ wᵢ"
    ),
    "shift": Method("shift", shift, ("a",), unit="tensor", formula="A + by"),
}
