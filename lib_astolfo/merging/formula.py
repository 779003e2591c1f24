"""Formulas: what is computed for a tensor, as a small tree over the tensors that are read for it.

A formula is shared by all tensors that are merged alike; it names its inputs by position, so two tensors with equal
formulas and equal input files can be computed in one go.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_astolfo.checkpoints.reader import CheckpointFile, TensorInfo
from lib_astolfo.merging import kernels, methods
from lib_astolfo.merging.method import Method, Option

#: Not in METHODS: how the engine takes a base off and puts it back for methods on differences.
MINUS = Method("minus", torch.sub, ("a", "b"), into=lambda out, a, b: torch.sub(a, b, out=out))
PLUS = Method("plus", torch.add, ("a", "b"), into=lambda out, a, b: torch.add(a, b, out=out))
_OWN = {"minus": MINUS, "plus": PLUS}


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
    """A method over formulas. ``options`` are sorted pairs."""

    method: str
    inputs: tuple[Formula, ...]
    options: tuple[tuple[str, Option], ...] = ()

    @property
    def entry(self) -> Method:
        return _OWN.get(self.method) or methods.get(self.method)


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


def apply(method: str, values: list[Value], options: dict[str, Option]) -> Value:
    """A method over values; equal leaves are read once."""
    leaves: list[Leaf] = []
    inputs = []
    for value in values:
        where = []
        for leaf in value.leaves:
            if leaf not in leaves:
                leaves.append(leaf)
            where.append(leaves.index(leaf))
        inputs.append(_renumber(value.formula, where))
    return Value(Apply(method, tuple(inputs), tuple(sorted(options.items()))), tuple(leaves))


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
    return Apply(formula.method, tuple(_renumber(f, where) for f in formula.inputs), formula.options)


def elementwise(formula: Formula) -> bool:
    """True if any part of the tensor can be computed alone."""
    if isinstance(formula, int):
        return True
    if isinstance(formula, Rounded):
        return elementwise(formula.value)
    return formula.entry.elementwise and all(elementwise(f) for f in formula.inputs)


def depth(formula: Formula) -> int:
    """How many fp32 scratch buffers an evaluation holds at once, at most, besides those of the leaves."""
    if isinstance(formula, int):
        return 0
    if isinstance(formula, Rounded):
        return depth(formula.value) + 1
    return 1 + sum(depth(f) for f in formula.inputs)


def evaluate(formula: Formula, leaves: list[Tensor], scratch: kernels.Scratch) -> Tensor:
    """Compute in fp32.

    Args:
        formula: over ``leaves``.
        leaves: fp32 tensors of one shape, unchanged.
        scratch: gives the buffers; the result is one of them or one of the leaves.
    """
    if isinstance(formula, int):
        return leaves[formula]
    if isinstance(formula, Rounded):
        inner = evaluate(formula.value, leaves, scratch)
        out = scratch.take(inner.shape)
        short = scratch.take(inner.shape, formula.dtype)
        out.copy_(short.copy_(inner))
        scratch.give_back()
        return out
    entry = formula.entry
    inputs = [evaluate(f, leaves, scratch) for f in formula.inputs]
    options = dict(formula.options)
    out = scratch.take(leaves[0].shape)
    if entry.into is not None:
        entry.into(out, *inputs, **options)
    else:
        out.copy_(entry.function(*inputs, **options))
    return out
