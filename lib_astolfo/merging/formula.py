"""Formulas: what is computed for a tensor, as a small tree over the tensors that are read for it.

A formula is shared by all tensors that are merged alike; it names its inputs by position, so two tensors with equal
formulas and equal input files can be computed in one go.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints.reader import CheckpointFile, TensorInfo
from lib_astolfo.merging import kernels, methods, scaling
from lib_astolfo.merging.method import UNITS, Method, Option, Place

#: Not in METHODS: how the engine takes a base off and puts it back for methods on differences.
MINUS = Method("minus", torch.sub, ("a", "b"), into=lambda out, a, b: torch.sub(a, b, out=out))
PLUS = Method("plus", torch.add, ("a", "b"), into=lambda out, a, b: torch.add(a, b, out=out))
#: LoRAs: the option ``patch`` is a ``lora.patch.Patch``, which knows the tensor and the files that it reads.
PATCH = Method(
    "patch", lambda a, *, patch: patch.of(a), ("a",), unit="tensor", into=lambda out, a, *, patch: patch.into(out, a)
)
_OWN = {"minus": MINUS, "plus": PLUS, "patch": PATCH, **scaling.METHODS}


#: Methods every step of which is one correctly rounded operation: the same bits wherever a part begins. Others may
#: round the last elements of a part, which do not fill a vector, otherwise than those before.
_EXACT = ("weighted_sum", "add_difference", "minus", "plus", "scale")


@dataclass(frozen=True)
class Leaf:
    """A tensor in an open file."""

    file: CheckpointFile
    info: TensorInfo

    @property
    def key(self) -> tuple[object, ...]:
        """Tells whether two leaves hold the same values, also over files opened twice."""
        return (*self.file.identity(), self.info.begin, self.info.dtype, self.info.shape)


@dataclass(frozen=True)
class Apply:
    """A method over formulas.

    Attributes:
        method: name of the method.
        inputs: what it is given.
        options: sorted pairs.
        node: for a method that measures the whole model, the entry of the recipe that this is a part of.
    """

    method: str
    inputs: tuple[Formula, ...]
    options: tuple[tuple[str, Option], ...] = ()
    node: str = ""

    @functools.cached_property
    def entry(self) -> Method:
        return _OWN.get(self.method) or methods.get(self.method)

    @functools.cached_property
    def nodes(self) -> tuple[Apply, ...]:
        """Every method in it, inner ones first, this one last."""
        return (*(node for inner in self.inputs for node in nodes(inner)), self)


@dataclass(frozen=True)
class Rounded:
    """A formula whose value is rounded to a dtype, as if it had been written to a file and read again."""

    value: Formula
    dtype: torch.dtype


Formula = int | Apply | Rounded


@dataclass(frozen=True)
class Value:
    """A formula with the tensors it reads; the first leaf is the one that stands for A."""

    formula: Formula
    leaves: tuple[Leaf, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.leaves[0].info.shape

    @property
    def key(self) -> tuple[object, ...]:
        return (self.formula, *(leaf.key for leaf in self.leaves))


def read(leaf: Leaf) -> Value:
    """The value of one stored tensor."""
    return Value(0, (leaf,))


@dataclass(frozen=True)
class Part:
    """Which elements of a tensor an evaluation is of.

    Attributes:
        key: the tensor's name.
        start: first element, counted in the flat tensor.
        shape: of the whole tensor.
        figures: what was measured of the whole tensor, by ``id`` of the formula's node.
        guard: called with values that were rounded to a dtype inside the formula, as fp32.
    """

    key: str = ""
    start: int = 0
    shape: tuple[int, ...] = ()
    figures: Mapping[int, tuple[Tensor, ...]] = field(default_factory=dict)
    guard: Callable[[Tensor, torch.dtype], None] | None = None


def apply(method: str, values: list[Value], options: dict[str, Option], *, node: str = "") -> Value:
    """A method over values; equal leaves are read once. ``node`` names the recipe's entry."""
    leaves: list[Leaf] = []
    inputs = []
    for value in values:
        where = []
        for leaf in value.leaves:
            if leaf not in leaves:
                leaves.append(leaf)
            where.append(leaves.index(leaf))
        inputs.append(_renumber(value.formula, where))
    root = Apply(method, tuple(inputs), tuple(sorted(options.items())))
    if any(measure.over == "model" for measure in root.entry.measures):
        root = replace(root, node=node)
    return Value(root, tuple(leaves))


def rounded(value: Value, dtype: torch.dtype) -> Value:
    """The value as it would be after a stay in a file of that dtype."""
    if value.formula == 0 and value.leaves[0].info.dtype == dtype:
        return value
    return Value(Rounded(value.formula, dtype), value.leaves)


def _renumber(formula: Formula, where: list[int]) -> Formula:
    if isinstance(formula, int):
        return where[formula]
    if isinstance(formula, Rounded):
        return Rounded(_renumber(formula.value, where), formula.dtype)
    return replace(formula, inputs=tuple(_renumber(f, where) for f in formula.inputs))


def nodes(formula: Formula) -> tuple[Apply, ...]:
    """Every method in a formula, inner ones first."""
    if isinstance(formula, int):
        return ()
    return nodes(formula.value) if isinstance(formula, Rounded) else formula.nodes


def unit(formula: Formula) -> str:
    """The least of a tensor that can be evaluated: one of ``UNITS``."""
    units = [one for node in nodes(formula) for one in (node.entry.unit, *(m.unit for m in node.entry.measures))]
    return max(units, key=UNITS.index, default=UNITS[0])


def elementwise(formula: Formula) -> bool:
    """True if any part of the tensor can be computed alone."""
    return all(node.entry.elementwise for node in nodes(formula))


def joinable(formula: Formula) -> bool:
    """True if neighbouring tensors can be computed in one go, to the same bits."""
    return all(node.method in _EXACT and node.entry.elementwise and not node.entry.placed for node in nodes(formula))


def depth(formula: Formula) -> int:
    """How many fp32 scratch buffers an evaluation holds at once, at most, besides those of the leaves."""
    if isinstance(formula, int):
        return 0
    if isinstance(formula, Rounded):
        return depth(formula.value) + 1
    return 1 + sum(depth(f) for f in formula.inputs)


def temporaries(formula: Formula) -> int:
    """About how many fp32 tensors the methods without ``into`` allocate by themselves, at most."""
    own = [node for node in nodes(formula) if node.entry.into is None]
    measuring = [node for node in nodes(formula) if node.entry.measures]
    return max((2 * len(node.inputs) + 4 for node in (*own, *measuring)), default=0)


def evaluate(formula: Formula, leaves: list[Tensor], scratch: kernels.Scratch, part: Part) -> Tensor:
    """Compute in fp32.

    Args:
        formula: over ``leaves``.
        leaves: flat fp32 tensors of one length, unchanged.
        scratch: gives the buffers; the result is one of them or one of the leaves.
        part: which elements these are.

    Returns:
        flat fp32 tensor.
    """
    if isinstance(formula, int):
        return leaves[formula]
    if isinstance(formula, Rounded):
        inner = evaluate(formula.value, leaves, scratch, part)
        out = scratch.take(inner.shape)
        short = scratch.take(inner.shape, formula.dtype)
        out.copy_(short.copy_(inner))
        scratch.give_back()
        if part.guard is not None:
            part.guard(out, formula.dtype)
        return out
    entry = formula.entry
    inputs = [shaped(evaluate(f, leaves, scratch, part), entry.unit, part.shape) for f in formula.inputs]
    options = _arguments(formula, part)
    out = scratch.take(leaves[0].shape)
    if entry.into is not None:
        entry.into(shaped(out, entry.unit, part.shape), *inputs, **options)
    else:
        shaped(out, entry.unit, part.shape).copy_(entry.function(*inputs, **options))
    return out


def measure(node: Apply, index: int, leaves: list[Tensor], scratch: kernels.Scratch, part: Part) -> Tensor:
    """One of the figures of a method over a part, as ``evaluate``; the earlier ones are in ``part.figures``."""
    one = node.entry.measures[index]
    inputs = [shaped(evaluate(f, leaves, scratch, part), one.unit, part.shape) for f in node.inputs]
    return one.part(*inputs, **_arguments(node, part))


def result(node: Apply, index: int, total: Tensor, part: Part) -> Tensor:
    """What the method gets of a figure that was gathered from all parts."""
    place = Place(part.key, 0, part.shape, part.figures.get(id(node), ()))
    return node.entry.measures[index].result(total, place, dict(node.options))


def shaped(values: Tensor, unit: str, shape: tuple[int, ...]) -> Tensor:
    """Flat values as a method of that unit wants them: flat, as rows of a tensor of ``shape`` (if it has two dimensions
    or more), or as the tensor."""
    if unit == "element":
        return values.view(-1)
    return values.view((-1, *shape[1:]) if unit == "row" and len(shape) > 1 else shape)


def _arguments(node: Apply, part: Part) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(node.options)
    if node.entry.placed:
        arguments["place"] = Place(part.key, part.start, part.shape, part.figures.get(id(node), ()))
    return arguments
