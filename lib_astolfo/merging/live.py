"""Merges written straight into the loaded weights, with exact undo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lib_astolfo.merging.engine import Progress, Resolve
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.report import Report


class LiveWeights:
    """The weights of one loaded model, which recipes can be written into and taken out of again."""

    def __init__(self, model: Any, resolve: Resolve) -> None:
        self.model = model
        self.resolve = resolve

    @property
    def current(self) -> Recipe | None:
        """The recipe whose result the weights hold, or None for the model's own."""
        raise NotImplementedError

    def apply(self, recipe: Recipe, *, progress: Progress | None = None) -> Report:
        """Write the recipe's result into the weights."""
        raise NotImplementedError

    def restore(self) -> None:
        """Put the model's own weights back, bit for bit."""
        raise NotImplementedError

    @contextmanager
    def temporarily(self, recipe: Recipe | None) -> Iterator[None]:
        """Apply a recipe (None: the model's own weights) and put back whatever stood before."""
        raise NotImplementedError
        yield
