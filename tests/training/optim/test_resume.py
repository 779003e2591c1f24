"""17 steps, a process's end, and 23 more are 40 steps, bit for bit: weights, optimiser, average, reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.training.checkpointing.store import Store
from lib_astolfo.training.optim.ema import Average
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.report import Report
from lib_astolfo.training.optim.settings import Settings
from tests.training.optim.small import RATES, groups, loss_of, network, same, train, weights

CUT, END = 17, 40


class Run:
    """Network, optimiser and average, and their state on disk."""

    def __init__(self, settings: Settings, dtype: torch.dtype, seed: int = 0) -> None:
        self.net = network(dtype, seed)
        self.optimiser = Optimiser(groups(self.net), settings)
        self.average = Average(self.optimiser.exact(), 0.9)
        self.reports: list[Report] = []

    def steps(self, numbers: range) -> None:
        self.reports += train(self.net, self.optimiser, numbers, lambda _: self.average.update(self.optimiser.exact()))

    def save(self, store: Store, step: int) -> None:
        optimiser, values = self.optimiser.state()
        average, updates = self.average.state()
        parts = {"weights": weights(self.net), "optimiser": optimiser, "ema": average}
        store.save(step, parts, {"optimiser": values, "ema": updates})

    def load(self, store: Store) -> int:
        state = store.load()
        assert state is not None and state.passed_over == ()
        self.net.load_state_dict(state.tensors["weights"])
        self.optimiser.load(state.tensors["optimiser"], state.values["optimiser"])
        self.average.load(state.tensors["ema"], state.values["ema"])
        return state.step

    def everything(self) -> dict[str, torch.Tensor]:
        parts = weights(self.net), self.optimiser.state()[0], self.average.state()[0]
        return {f"{index} {name}": tensor for index, part in enumerate(parts) for name, tensor in part.items()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", list(RATES))
def test_resumed_is_uninterrupted(name: str, dtype: str, tmp_path: Path) -> None:
    check(Settings(name), getattr(torch, dtype), tmp_path)


def test_resumed_is_uninterrupted_with_everything(tmp_path: Path) -> None:
    check(Settings(precision="master", fused=True, accumulate=3, seed=5), torch.bfloat16, tmp_path)


def check(settings: Settings, dtype: torch.dtype, folder: Path) -> None:
    whole = Run(settings, dtype)
    whole.steps(range(END))
    first = Run(settings, dtype)
    first.steps(range(CUT))
    first.save(Store(folder), CUT)
    second = Run(settings, dtype, seed=1)  # other weights, until the state is loaded
    assert second.load(Store(folder)) == CUT
    second.steps(range(CUT, END))
    assert same(whole.everything(), second.everything())
    assert whole.reports == first.reports + second.reports
    assert whole.optimiser.shared == second.optimiser.shared
    untouched = Run(settings, dtype)
    assert not same(whole.everything(), untouched.everything())


def test_cut_within_a_step(tmp_path: Path) -> None:
    """A kill after two of three backward passes: the state is that of the last whole step, which is made again."""
    settings = Settings(accumulate=3)
    whole, cut = Run(settings, torch.float32), Run(settings, torch.float32)
    whole.steps(range(6))
    cut.steps(range(4))
    cut.save(Store(tmp_path), 4)
    cut.optimiser.begin(4, {"a": 1e-3, "b": 1e-3})
    for number in range(2):
        cut.optimiser.backward(loss_of(cut.net, 4, number))
    with pytest.raises(RuntimeError):
        cut.optimiser.state()
    cut.optimiser.drop()
    cut.steps(range(4, 6))
    assert same(whole.everything(), cut.everything())
    again = Run(settings, torch.float32)
    again.steps(range(again.load(Store(tmp_path)), 6))
    assert same(whole.everything(), again.everything())


def test_another_seed_rounds_otherwise() -> None:
    runs = [Run(Settings(seed=seed), torch.bfloat16) for seed in (0, 1)]
    for run in runs:
        run.steps(range(2))
    assert not same(*(weights(run.net) for run in runs))


def broken(values: dict[str, Any], tensors: dict[str, torch.Tensor]) -> list[tuple[Any, Any, str]]:
    name = "4.weight|mean"
    without = {key: tensor for key, tensor in tensors.items() if key != name}
    return [
        ({**values, "optimiser": "lion"}, tensors, "of optimiser lion"),
        (values, without, "precision and optimiser"),
        (values, {**tensors, "9.weight|mean": tensors[name]}, "not trained now"),
        (values, {**tensors, name: tensors[name][:2]}, r"\(2, 24\)"),
        (values, {**tensors, name: tensors[name].half()}, "float16"),
    ]


def test_a_state_of_something_else_is_refused_and_changes_nothing() -> None:
    run = Run(Settings(), torch.float32)
    run.steps(range(2))
    tensors, values = run.optimiser.state()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    for bad_values, bad_tensors, text in broken(values, before):
        with pytest.raises(BadInput, match=text):
            run.optimiser.load(bad_tensors, bad_values)
        assert same(before, run.optimiser.state()[0])
    other = Run(replace(run.optimiser.settings, precision="master"), torch.bfloat16)
    with pytest.raises(BadInput, match="master"):
        other.optimiser.load(tensors, values)
    with pytest.raises(BadInput, match="average"):
        run.average.load({"w": torch.zeros(1)}, {"updates": 1})
