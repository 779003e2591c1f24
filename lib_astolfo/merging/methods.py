"""Merge methods: pure functions on tensors, in one plain dict under sd-mecha's names.

An entry is called as ``METHODS[name](*tensors, **options)``.  Element-wise entries may be given any part of a tensor
(the engine hands them chunks); the others get whole tensors in their own shape.  An entry with ``space = "delta"``
takes differences from a base and returns one; the engine subtracts and adds the base.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.merging import kernels


@dataclass(frozen=True)
class Method:
    """One way of merging.

    Attributes:
        name: name in ``METHODS``.
        function: pure, ``(*tensors, **options) -> Tensor``; all tensors of one shape and one floating dtype.
        inputs: model slots in calling order, without the base of a delta method.
        options: option names and their defaults; ``alpha`` is what a recipe calls ``ratio``.
        space: ``weight``, or ``delta`` (the engine takes the slot ``base`` off and puts it back).
        elementwise: element i of the result depends on element i of the inputs alone.
        many: any number of further models may follow ``inputs``.
        formula: the method in words for people.
        reference: paper or program the formula is from.
        into: the same arithmetic without allocation, ``into(out, *float32 tensors, **options)``;
            ``out`` may not be one of the inputs.
        half: the same on half precision inputs, result rounded once from float32, ``half(out, *tensors, **options)``;
            ``out`` may be the first input.
    """

    name: str
    function: Callable[..., Tensor]
    inputs: tuple[str, ...]
    options: Mapping[str, float] = field(default_factory=dict)
    space: str = "weight"
    elementwise: bool = True
    many: bool = False
    formula: str = ""
    reference: str = ""
    into: Callable[..., None] | None = None
    half: Callable[..., None] | None = None

    def __call__(self, *tensors: Tensor, **options: float) -> Tensor:
        """Merge tensors of one shape; missing options stand at their defaults.

        Raises:
            BadInput: wrong number of tensors, unequal shapes, unknown option, or an option that is no finite number.
        """
        self.check_count(len(tensors))
        if len({tuple(t.shape) for t in tensors}) > 1:
            raise BadInput(self.name, [tuple(t.shape) for t in tensors], "tensors of one shape")
        return self.function(*tensors, **self.complete(options))

    def check_count(self, count: int) -> None:
        """Refuse a number of models that the method cannot take."""
        if count < len(self.inputs) or (count > len(self.inputs) and not self.many):
            more = " or more" if self.many else ""
            raise BadInput(self.name, f"{count} models", f"{len(self.inputs)}{more} ({', '.join(self.inputs)})")

    def complete(self, options: Mapping[str, float]) -> dict[str, float]:
        """Options with defaults filled in, checked."""
        for name, value in options.items():
            if name not in self.options:
                raise BadInput(f"{self.name}.{name}", value, f"one of {sorted(self.options) or 'no options'}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise BadInput(f"{self.name}.{name}", value, "a finite number")
        return {**self.options, **options}


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
    )
}


def get(name: str) -> Method:
    """The entry of that name; BadInput lists the names."""
    if name not in METHODS:
        raise BadInput("method", name, f"one of {', '.join(sorted(METHODS))}")
    return METHODS[name]
