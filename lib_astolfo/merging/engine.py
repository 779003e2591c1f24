"""The streaming engine: any number of models to one file at the speed of a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.report import Report

Progress = Callable[[int, int, str], None]
Resolve = Callable[[str], Path]


def merge(
    recipe: Recipe,
    resolve: Resolve,
    output: Path,
    *,
    threads: int = 2,
    progress: Progress | None = None,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Report:
    """Merge to a safetensors file that appears under its name only when it is complete."""
    raise NotImplementedError
