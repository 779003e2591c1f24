"""A small network and a run of an optimiser over it, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib_astolfo.diffusion.chance import Stream
from lib_astolfo.training.optim.optimiser import Groups, Optimiser
from lib_astolfo.training.optim.report import Report
from lib_astolfo.training.optim.settings import Settings

RATES = {"adamw": 1e-3, "adafactor": 1e-3, "lion": 1e-4, "prodigy": 1.0}


def network(dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Sequential:
    """Convolution, norm, linear: tensors of four, one and two dimensions."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.SiLU(), nn.GroupNorm(2, 6), nn.Flatten(), nn.Linear(24, 5))
    return layers.to(dtype)


def groups(net: nn.Module) -> Groups:
    """All its tensors, in two groups."""
    named = dict(net.named_parameters())
    return {
        "a": {name: p for name, p in named.items() if name.startswith("0")},
        "b": {name: p for name, p in named.items() if not name.startswith("0")},
    }


def batch(step: int, number: int = 0) -> Tensor:
    """[4, 3, 4, 4], a function of the step and of the number within the step."""
    return Stream(7, f"batch {number}", step).normal(4 * 48).float().view(4, 3, 4, 4)


def loss_of(net: nn.Module, step: int, number: int = 0) -> Tensor:
    """Against a function of the input. float16 weights are computed with in float32: old PyTorch needs it on a CPU."""
    x = batch(step, number)
    target = x.flatten(1)[:, :5] * 2 - 1
    named = dict(net.named_parameters())
    if named["0.weight"].dtype == torch.float16:
        named = {name: parameter.float() for name, parameter in named.items()}
    out = torch.func.functional_call(net, named, x.to(named["0.weight"].dtype))
    return (out.float() - target).square().mean()


def train(
    net: nn.Module,
    optimiser: Optimiser,
    steps: range,
    after: Callable[[Report], None] = lambda report: None,
) -> list[Report]:
    """These steps, with group b at half the rate of group a."""
    rate, reports = RATES[optimiser.settings.optimiser], []
    for step in steps:
        optimiser.begin(step, {"a": rate, "b": rate / 2})
        for number in range(optimiser.settings.accumulate):
            optimiser.backward(loss_of(net, step, number))
        reports.append(optimiser.finish())
        after(reports[-1])
    return reports


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def trained(settings: Settings, steps: int, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, list[Report]]:
    net = network(dtype)
    optimiser = Optimiser(groups(net), settings)
    reports = train(net, optimiser, range(steps))
    optimiser.close()
    return net, reports
