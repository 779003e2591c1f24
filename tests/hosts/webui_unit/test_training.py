"""What stands around a step of a training, and around a picture of it: on modules treated as WebUIs treat them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lib_astolfo.errors import Failed
from lib_astolfo.hosts.webui import training
from lib_astolfo.hosts.webui.training import Training


class Network(nn.Module):
    """A loaded model: a network with a block that re-computes, and a LoRA in it between pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.second.use_checkpoint = True  # type: ignore[assignment]
        self.tiles = nn.Conv2d(1, 1, 3, padding=1)
        self.log: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).relu())


class Backend:
    """See ``webui.backend.Backend``, as far as a training needs it."""

    reason = ""

    def roots(self, model: Network) -> dict[str, nn.Module]:
        return {"unet": model}

    def hindrance(self, model: Network) -> str:
        return self.reason

    def device(self, model: Network) -> torch.device:
        return torch.device("cpu")

    def plain(self, model: Network) -> None:
        model.log.append("plain")

    @contextmanager
    def trainable(self, model: Network) -> Iterator[None]:
        model.log.append("trainable")
        yield
        model.log.append("as it was")


@pytest.fixture
def model() -> Network:
    return Network()


@pytest.fixture
def trained() -> Training:
    return Training(Backend(), "the model")  # type: ignore[arg-type]


def in_inference_mode(model: nn.Module) -> None:
    """reForge moves weights in inference mode."""
    with torch.inference_mode():
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()


def test_a_step_has_gradients_and_leaves_the_host_s_own_state(model: Network, trained: Training) -> None:
    in_inference_mode(model)
    assert all(parameter.is_inference() for parameter in model.parameters())
    values = [parameter.clone() for parameter in model.parameters()]
    with torch.inference_mode(), trained.step(model):
        assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled() and trained.active
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert model.second.use_checkpoint is False
        own = model.first.weight
        copy = model.first._parameters["weight"] = own.detach().clone().requires_grad_(True)  # type: ignore[assignment]
        model(torch.ones(1, 3)).sum().backward()
        model.first._parameters["weight"] = own
    assert not trained.active and copy.grad is not None
    assert model.second.use_checkpoint is True
    assert model.log == ["plain", "trainable", "as it was"]
    assert all(torch.equal(one, two) for one, two in zip(values, model.parameters(), strict=True))


def test_flags_of_gradients_come_back_as_they_were(model: Network, trained: Training) -> None:
    model.first.bias.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), trained.step(model):
        raise ZeroDivisionError
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert flags.pop("first.bias") is False and all(flags.values())
    assert not trained.active


def test_random_states_are_not_spent(model: Network, trained: Training) -> None:
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    wanted = random.random(), np.random.rand(), torch.rand(1).item()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    with trained.step(model):
        random.random(), np.random.rand(3), torch.rand(7)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == wanted


def test_a_hindrance_is_named(model: Network) -> None:
    backend = Backend()
    backend.reason = "its weights are in fp8"
    with pytest.raises(Failed, match=r"the model .*fp8"), Training(backend, "the model").step(model):  # type: ignore[arg-type]
        raise AssertionError


def test_autocast_only_where_two_precisions_meet(model: Network, trained: Training) -> None:
    with trained.precision(model):
        assert not training.autocast_is_on("cpu")
    model.second.to(torch.bfloat16)
    with trained.precision(model):
        assert training.autocast_is_on("cpu")
        assert model(torch.ones(1, 3)).shape == (1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=True), trained.precision(model):
        assert training.autocast_is_on("cpu")


class Showing:
    """Another weight in place of one of the network."""

    def __init__(self, model: Network) -> None:
        self.model, self.own, self.log = model, model.first.weight, model.log

    def begin(self) -> str:
        self.log.append("begin")
        self.model.first._parameters["weight"] = nn.Parameter(self.own.detach() + 1.0, requires_grad=False)
        return "shown"

    def end(self) -> None:
        self.log.append("end")
        self.model.first._parameters["weight"] = self.own


def test_what_is_shown_is_ended_before_a_step(model: Network, trained: Training) -> None:
    showing = Showing(model)
    assert trained.show(model, showing) == "shown" and trained.shown
    assert not torch.equal(model.first.weight, showing.own)
    with trained.step(model):
        assert model.first.weight is showing.own and not trained.shown
    trained.hide(model)
    assert model.log == ["plain", "begin", "plain", "end", "plain", "trainable", "as it was"]


def test_weights_of_another_file_are_not_read_into_what_is_shown(model: Network, trained: Training) -> None:
    showing = Showing(model)
    trained.show(model, showing)
    other = Network().state_dict()
    model.load_state_dict(other)
    assert model.first.weight is showing.own and not trained.shown
    assert torch.equal(model.first.weight, other["first.weight"])
    model.load_state_dict(other)
    assert model.log.count("end") == 1


def test_a_host_that_moved_what_is_shown_moves_the_own_weights(model: Network, trained: Training) -> None:
    showing = Showing(model)
    trained.show(model, showing)
    model.to("meta")
    trained.hide(model)
    assert showing.own.device.type == "cpu"
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_an_error_on_the_way_still_ends_it(model: Network, trained: Training) -> None:
    showing = Showing(model)
    trained.show(model, showing)

    def refuse(model: Any) -> None:
        raise ZeroDivisionError

    trained._backend.plain = refuse  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        trained.hide(model)
    assert model.first.weight is showing.own and not trained.shown


def test_tiling_is_off_and_on_again(model: Network) -> None:
    model.tiles.padding_mode = "circular"
    with training.untiled(model.modules()):
        assert model.tiles.padding_mode == "zeros"
    assert model.tiles.padding_mode == "circular"
