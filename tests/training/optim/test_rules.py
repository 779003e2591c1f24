"""Each update rule against an implementation that is not ours, or against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lib_astolfo.errors import Failed
from lib_astolfo.training.optim import eight_bit
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.settings import Settings

SHAPES = {"linear": (7, 5), "bias": (5,), "scale": ()}


def gradient(shape: tuple[int, ...], step: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(step)) * 10 ** (step % 3 - 2)


def ours(settings: Settings, shape: tuple[int, ...], rate: float, steps: int) -> Tensor:
    weight = nn.Parameter(gradient(shape, 99))
    optimiser = Optimiser({"unet": {"w": weight}}, settings)
    for step in range(steps):
        optimiser.begin(step, {"unet": rate})
        optimiser.backward((weight * gradient(shape, step)).sum())
        optimiser.finish()
    return weight.detach()


def theirs(make: type[torch.optim.Optimizer], shape: tuple[int, ...], steps: int, **options: object) -> Tensor:
    weight = nn.Parameter(gradient(shape, 99))
    optimiser = make([weight], **options)
    for step in range(steps):
        weight.grad = gradient(shape, step)
        optimiser.step()
    return weight.detach()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_adamw_is_pytorchs(shape: tuple[int, ...]) -> None:
    settings = Settings(clip=0.0, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    reference = theirs(torch.optim.AdamW, shape, 9, lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    assert torch.equal(ours(settings, shape, 0.01, 9), reference)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("shape", [(7, 5), (5,)])
def test_adafactor_is_transformers(shape: tuple[int, ...], relative: bool) -> None:
    from transformers.optimization import Adafactor

    options = {"scale_parameter": relative, "relative_step": False, "weight_decay": 0.1, "lr": 0.01}
    settings = Settings("adafactor", clip=0.0, weight_decay=0.1, scale_parameter=relative)
    assert torch.allclose(ours(settings, shape, 0.01, 9), theirs(Adafactor, shape, 9, **options), atol=1e-6)


def test_adafactor_takes_a_convolution_as_a_matrix() -> None:
    """Its state is one row and one column; the update is that of the flattened weight."""
    weight = nn.Parameter(torch.zeros(8, 6, 3, 3))
    state = Optimiser({"unet": {"w": weight}}, Settings("adafactor")).state()[0]
    assert sum(tensor.numel() for tensor in state.values()) == 1 + 8 + 54
    settings = Settings("adafactor", clip=0.0)
    flat = nn.Parameter(gradient((8, 6, 3, 3), 99).flatten(1))
    optimiser = Optimiser({"unet": {"w": flat}}, settings)
    for step in range(4):
        optimiser.begin(step, {"unet": 0.01})
        optimiser.backward((flat * gradient((8, 6, 3, 3), step).flatten(1)).sum())
        optimiser.finish()
    assert torch.allclose(ours(settings, (8, 6, 3, 3), 0.01, 4).flatten(1), flat.detach(), atol=1e-7)


def test_lion_by_hand() -> None:
    """betas 0.5 and 0.75, rate 0.1, decay 0.2. Step 1: sign(0.5·g), mean 0.25·g. Step 2: sign(0.5·mean + 0.5·g)."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimiser = Optimiser({"u": {"w": weight}}, Settings("lion", clip=0.0, betas=(0.5, 0.75), weight_decay=0.2))
    for step, grad in enumerate(([4.0, -8.0, 0.0], [-0.5, -1.0, 2.0])):
        optimiser.begin(step, {"u": 0.1})
        optimiser.backward((weight * torch.tensor(grad)).sum())
        optimiser.finish()
    first = [1 * 0.98 - 0.1, -2 * 0.98 + 0.1, 3 * 0.98]
    # means 1, -2, 0; with the second gradients 0.25, -1.5, 1.0
    second = [first[0] * 0.98 - 0.1, first[1] * 0.98 + 0.1, first[2] * 0.98 - 0.1]
    assert weight.tolist() == pytest.approx(second, abs=1e-6)
    assert optimiser.weights["w"].state["mean"].tolist() == pytest.approx([0.625, -1.75, 0.5])


def test_prodigy_by_hand() -> None:
    """Algorithm 4 of the paper for one number, written out in plain arithmetic."""
    weight = nn.Parameter(torch.tensor([0.0]))
    settings = Settings("prodigy", clip=0.0, weight_decay=0.0, betas=(0.9, 0.99))
    optimiser = Optimiser({"u": {"w": weight}}, settings)
    x, m, v, r, s, d = 0.0, 0.0, 0.0, 0.0, 0.0, 1e-6
    for step in range(30):
        optimiser.begin(step, {"u": 1.0})
        optimiser.backward(((weight - 2).square() / 2).sum())
        optimiser.finish()
        g, root = x - 2, math.sqrt(0.99)
        gamma = math.sqrt(1 - 0.99 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        m, v = 0.9 * m + 0.1 * d * g, 0.99 * v + 0.01 * d * d * g * g
        r = root * r + (1 - root) * gamma * d * d * g * (0.0 - x)
        s = root * s + (1 - root) * gamma * d * d * g
        x -= gamma * d * m / (math.sqrt(v) + d * 1e-8)
        d = max(d, r / abs(s))
        assert optimiser.shared["distance"] == pytest.approx(d, rel=1e-3)
        assert weight.item() == pytest.approx(x, rel=1e-3)
    assert d > 1e-4


def test_prodigy_finds_the_distance() -> None:
    """Without any learning rate given, a minimum at distance 3 is reached from 0, and d is of that order."""
    weight = nn.Parameter(torch.zeros(20))
    optimiser = Optimiser({"u": {"w": weight}}, Settings("prodigy", weight_decay=0.0))
    for step in range(400):
        optimiser.begin(step, {"u": 1.0})
        optimiser.backward((weight - 3.0).square().mean())
        optimiser.finish()
    assert weight.detach().mean().item() == pytest.approx(3.0, abs=0.3)
    assert 0.03 < optimiser.shared["distance"] < 30


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lion", "prodigy"])
def test_a_weight_without_gradient_stays(name: str) -> None:
    used, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimiser = Optimiser({"u": {"used": used, "unused": unused}}, Settings(name, weight_decay=0.5))
    optimiser.begin(0, {"u": 0.1})
    optimiser.backward(used.sum())
    report = optimiser.finish()
    assert torch.equal(unused.detach(), torch.ones(3)) and not torch.equal(used.detach(), torch.ones(3))
    assert report.moved == pytest.approx(0.5) and not report.skipped


def test_bitsandbytes_is_asked_for_by_name() -> None:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(Failed, match=r"needs the package bitsandbytes.*choose adamw or adafactor"):
            eight_bit._optimiser()
