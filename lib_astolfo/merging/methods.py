"""Merge methods: pure functions on tensors, in one plain dict under sd-mecha's names.

An entry is called as ``METHODS[name](*tensors, **options)``.  The engine hands it what its ``unit`` allows: any part of
a tensor, whole rows, or whole tensors; figures of the whole tensor that it needs are gathered before, part by part
(``measures``).  An entry with ``space = "delta"`` takes differences from a base and returns one; the engine subtracts
and adds the base.
"""

from __future__ import annotations

from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.merging import kernels
from lib_astolfo.merging.lora import method as lora
from lib_astolfo.merging.method import Method


def weighted_sum(a: Tensor, b: Tensor, *, alpha: float) -> Tensor:
    """(1 - alpha)·A + alpha·B, for any shape; computed and rounded as ``torch.lerp`` does (sd-mecha weighted_sum)."""
    return a.lerp(b, alpha)


def add_difference(a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> Tensor:
    """A + alpha·(B - C), for any shape (sd-mecha add_difference over subtract; A1111 modules/extras.py)."""
    return a + (b - c) * alpha


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="weighted_sum",
            function=weighted_sum,
            inputs=("a", "b"),
            options={"alpha": 0.5},
            formula="(1 - ratio)·A + ratio·B",
            reference="sd-mecha weighted_sum; A1111 checkpoint merger, weighted sum",
            into=kernels.lerp_into,
            half=kernels.lerp_into,
        ),
        Method(
            name="add_difference",
            function=add_difference,
            inputs=("a", "b", "c"),
            options={"alpha": 1.0},
            formula="A + ratio·(B - C)",
            reference="sd-mecha add_difference; Ilharco et al. 2022, arXiv:2212.04089, section 2 (task arithmetic)",
            into=kernels.add_difference_into,
        ),
        *lora.METHODS,
    )
}


def get(name: str) -> Method:
    """The entry of that name; BadInput lists the names."""
    if name not in METHODS:
        raise BadInput("method", name, f"one of {', '.join(sorted(METHODS))}")
    return METHODS[name]
