"""Figures of whole tensors, and of the whole model, gathered part by part before anything is written.

A formula's measures are taken in as few passes over its inputs as their order allows: those of inner methods first, the
measures of one method one after the other, what does not depend on each other together. Parts are the same whatever
the threads, and are combined in their order; so are the tensors of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lib_astolfo.merging.formula import Apply, Formula, Part, Rounded, measure, nodes, result
from lib_astolfo.merging.kernels import Scratch
from lib_astolfo.merging.plan import Task

#: (entry of the recipe, number of the measure) to its result over the model.
ModelFigures = Mapping[tuple[str, int], Tensor]
#: Gives first element and flat fp32 leaves of each part of a tensor.
Load = Callable[[], Iterator[tuple[int, list[Tensor]]]]


def passes(formula: Formula) -> list[list[tuple[Apply, int]]]:
    """The measures of a formula, (node, number) each; those of a pass need nothing but those of the passes before."""
    levels: list[list[tuple[Apply, int]]] = []

    def visit(one: Formula) -> int:
        if isinstance(one, int):
            return 0
        if isinstance(one, Rounded):
            return visit(one.value)
        level = max((visit(inner) for inner in one.inputs), default=0)
        for index in _wanted(one):
            levels.extend([] for _ in range(level + 1 - len(levels)))
            levels[level].append((one, index))
            level += 1
        return level

    visit(formula)
    return levels


def of_model(formula: Formula) -> set[tuple[str, int]]:
    """Names of the measures over the whole model."""
    return {(n.node, i) for n in nodes(formula) for i in _wanted(n) if n.entry.measures[i].over == "model"}


def _wanted(node: Apply) -> list[int]:
    """Numbers of the measures that a method needs under its options."""
    options = dict(node.options)
    return [index for index, one in enumerate(node.entry.measures) if not one.skipped(options)]


def gather(
    formula: Formula, load: Load, scratch: Scratch, part: Part, known: ModelFigures
) -> tuple[dict[int, tuple[Tensor, ...]], dict[tuple[str, int], Tensor]]:
    """Every figure of one tensor that can be had.

    Args:
        formula: what the tensor is computed by.
        load: reads the parts; called once for each pass.
        scratch: buffers for the evaluation, besides those that ``load`` takes.
        part: the tensor's name, shape and guard.
        known: figures of the whole model that are known.

    Returns:
        figures by ``id`` of the node, and this tensor's share of those of the whole model that are not known yet.
        What depends on the latter is left out.
    """
    figures = {id(node): _unneeded(node, ()) for node in nodes(formula) if node.entry.measures}
    shares: dict[tuple[str, int], Tensor] = {}
    waiting: set[int] = set()
    for step in passes(formula):
        ready = []
        for node, index in step:
            name = (node.node, index)
            over_model = node.entry.measures[index].over == "model"
            if any(id(inner) in waiting for inner in nodes(node)):
                waiting.add(id(node))
            elif over_model and name in known:
                total = result(node, index, known[name], replace(part, figures=figures))
                figures[id(node)] = _unneeded(node, (*figures[id(node)], total))
            else:
                ready.append((node, index))
                waiting |= {id(node)} if over_model else set()
        seen = replace(part, figures=figures)
        for (node, index), total in zip(ready, _pass(ready, load, scratch, seen), strict=True):
            if id(node) in waiting:
                shares[node.node, index] = total
            else:
                figures[id(node)] = _unneeded(node, (*figures[id(node)], result(node, index, total, seen)))
    return figures, shares


def _unneeded(node: Apply, found: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Figures with empty ones behind them for the next measures that are not needed."""
    measures, options = node.entry.measures, dict(node.options)
    while len(found) < len(measures) and measures[len(found)].skipped(options):
        found = (*found, torch.empty(0, dtype=torch.float64))
    return found


def _pass(ready: Sequence[tuple[Apply, int]], load: Load, scratch: Scratch, part: Part) -> list[Tensor]:
    """Results of some measures over all parts."""
    totals: list[Tensor] = []
    for start, leaves in load() if ready else ():
        here = replace(part, start=start)
        values = []
        for node, index in ready:
            mark = scratch.mark()
            values.append(measure(node, index, leaves, scratch, here))
            scratch.reset(mark)
        combined = zip(ready, totals, values, strict=True) if totals else ()
        totals = [node.entry.measures[i].combine(a, b) for (node, i), a, b in combined] or values
    return totals


class Total:
    """Figures of the whole model, put together from the shares of its tensors in the order of their names."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        measured = [task for task in tasks if of_model(task.value.formula)]
        self.tasks = sorted(measured, key=lambda task: task.name)
        self.known: dict[tuple[str, int], Tensor] = {}
        entries = [node for task in self.tasks for node in nodes(task.value.formula)]
        self._combine = {(n.node, i): one.combine for n in entries for i, one in enumerate(n.entry.measures)}
        self._new: dict[tuple[str, int], Tensor] = {}

    def missing(self) -> list[Task]:
        """The tensors that something is still to be measured of."""
        return [task for task in self.tasks if of_model(task.value.formula) - set(self.known)]

    def add(self, shares: Mapping[tuple[str, int], Tensor]) -> None:
        """The next tensor's share."""
        for name, value in shares.items():
            value = value.cpu()
            self._new[name] = self._combine[name](self._new[name], value) if name in self._new else value

    def close(self) -> None:
        """Every tensor has been seen: what came together is known now."""
        self.known |= self._new
        self._new = {}


def signature(task: Task, known: ModelFigures) -> tuple[object, ...]:
    """Tells two results of one formula apart that were computed with different figures of their models."""
    names = sorted(of_model(task.value.formula))
    return tuple(known[name].to(torch.float64).numpy().tobytes() for name in names if name in known)
