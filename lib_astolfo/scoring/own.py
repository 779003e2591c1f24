"""A score of somebody's own: ``file.py:function``, run because the machine's owner names it on the command line.

The function gets the pictures (uint8 [N,H,W,3]) and their prompts and returns a number for each picture, or one for
all.
Its attribute ``better`` ("lower", "higher", "none" or a number), or the option, says which way is better.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.scoring.makers import Given
from lib_astolfo.scoring.score import Score, ScoreValues


def make(given: Given) -> Score:
    """The score. Errors: BadInput for a file that does not run or has no such function."""
    path, name = given.options["function"]
    function = load(path, name, given.where("function"))
    better = given.options["better"] or getattr(function, "better", "higher")
    words = (getattr(function, "__doc__", None) or f"{path.name}: {name}").strip().splitlines()[0]
    mark = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Score(given.name, _Own(given.name, function), better, "", words, mark=mark)


def load(path: Path, name: str, where: str) -> Callable[..., Any]:
    """Run the file and take the function out of it; nothing is kept of it elsewhere."""
    spec = importlib.util.spec_from_file_location(f"astolfo_score_{path.stem}", path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise BadInput(where, path.name, "a Python file and a function in it, file.py:function")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadInput(where, f"{path.name} fails with {type(error).__name__}: {error}", "a file that runs") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise BadInput(where, f"no function {name} in {path.name}", "the name of one")
    return function


class _Own:
    """Calls the function and looks at what it returns."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function

    def __call__(self, pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        try:
            returned = self.function(pictures.copy(), list(prompts))
            if isinstance(returned, ScoreValues):
                return returned
            values = np.asarray(returned, dtype=np.float64)
        except Exception as error:
            raise Failed(f"score {self.name}: {type(error).__name__}: {error}") from error
        if values.ndim == 0:
            return ScoreValues(float(values), float("nan"), None)
        if values.shape != (len(pictures),) or not np.isfinite(values).all():
            found = f"{values.shape} values" if values.shape != (len(pictures),) else "values that are no numbers"
            raise Failed(f"score {self.name}: {found}; one number for each of the {len(pictures)} pictures is needed")
        return ScoreValues.of(values)
