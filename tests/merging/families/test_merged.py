"""Whole merges by the engine against the methods on whole tensors: bits do not depend on parts, threads or order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.merging import runs
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.methods import METHODS
from lib_astolfo.merging.recipe import Recipe
from tests.merging.tiny import Make, load

Resolve = Callable[[str], Path]
DGMLA = {"k": 1.0, "probability": 0.1, "della_eps": -0.1, "rescale": False, "vote_sgn": True, "apply_median": True}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("ties_sum", {"k": 0.3}),
    ("ties_sum_extended", {"k": 0.5, "apply_stock": True}),
    ("ties_sum_with_dropout", DGMLA),
    ("ties_sum_with_dropout", {"k": 0.4, "probability": 0.5, "seed": 7}),
    ("dropout", {"probability": 0.5, "overlap": 0.0}),
    ("model_stock", {"per": "tensor"}),
    ("isotropic", {"z": 0.8}),
    ("geometric_median", {}),
]


def _recipe(name: str, options: dict[str, Any]) -> Recipe:
    models = {"a": "m0", "b": "m1", "c": "m2", "d": "m3"}
    if METHODS[name].space == "delta":
        models = {"base": "base", **models}
    return Recipe.from_dict({"method": name, "models": models, "options": options, "dtype": "fp32", "ratio": 1.0})


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_merge_is_the_method_on_whole_tensors(
    name: str, options: dict[str, Any], make: Make, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load(make("base", 9))
    models = [load(make(f"m{i}", i)) for i in range(4)]
    recipe = _recipe(name, options)
    outputs = []
    for threads, small in ((1, False), (3, False), (2, True)):
        if small:
            monkeypatch.setattr(runs, "SMALLEST", 64)
            monkeypatch.setattr(runs, "SCRATCH", 1 << 12)
        path = tmp_path / f"out{len(outputs)}.safetensors"
        report = merge(recipe, resolve, path, threads=threads)
        outputs.append(load(path))
    merged = [key for key in outputs[0] if key not in report.copied]
    assert merged
    for key in merged:
        tensors = [model[key].float() for model in models]
        if METHODS[name].space == "delta":
            right = base[key].float() + METHODS[name](*[t - base[key].float() for t in tensors], key=key, **options)
        else:
            right = METHODS[name](*tensors, key=key, **options)
        assert torch.equal(outputs[0][key], outputs[1][key]), key
        torch.testing.assert_close(outputs[0][key], right, rtol=1e-6, atol=1e-6, msg=key)
        torch.testing.assert_close(outputs[2][key], right, rtol=1e-6, atol=1e-6, msg=key)
