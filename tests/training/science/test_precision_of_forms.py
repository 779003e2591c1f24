"""Forms make the progress of float32 at the rates of finetuning, whatever they are trained in; plain rounding does not.

The gradient is a constant slope and noise, on one convolution of a real model; progress is how far the weight that the
network computes with comes, along the way that float32 weights go.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.forms.settings import FormSettings
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.settings import Settings
from tests.training.science import smallest

NAME = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"
STEPS, RATE = 200, 1.5e-6
BF16 = torch.bfloat16


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneHost]:
    root = tmp_path_factory.mktemp("precision")
    smallest.checkpoint(smallest.architecture(root / "architectures"), root / "models" / "model.safetensors")
    made = StandaloneHost(
        [root / "models"], root / "out", device="cpu", dtype="bf16", architectures=[root / "architectures"]
    )
    yield made
    made.unload()


def gradients(shape: torch.Size) -> Iterator[Tensor]:
    """A slope with noise, of each step."""
    generator = torch.Generator().manual_seed(0)
    slope = torch.randn(shape, generator=generator)
    while True:
        yield slope + torch.randn(shape, generator=generator)


def progress(host: StandaloneHost, kind: str, dtype: str, precision: str = "auto") -> Tensor:
    """The difference that was trained, float32."""
    form = make(FormSettings(kind, dtype), host.load("model"), [NAME])
    settings = Settings(precision=precision, weight_decay=0.0, clip=0.0)
    optimiser = Optimiser({"unet": form.trainables()}, settings)
    [trained] = form.trainables().values()
    given = gradients(trained.shape)
    for step in range(STEPS):
        optimiser.begin(step, {"unet": RATE})
        optimiser.backward((trained.float() * next(given)).sum())
        optimiser.finish()
    exact = optimiser.exact() if precision == "master" else None
    optimiser.close()
    return form.difference(NAME, exact).double()


def share(found: Tensor, full: Tensor) -> float:
    """Progress over that of ``full``."""
    return float((found * full).sum() / full.square().sum())


def test_every_form_reaches_it(host: StandaloneHost) -> None:
    full = progress(host, "full", "fp32")
    assert float(full.abs().mean()) > 0.5 * STEPS * RATE
    ways = [("full", "bf16", "stochastic"), ("full", "bf16", "master"), ("delta", "fp32", "auto")]
    for way in [*ways, ("delta", "bf16", "stochastic")]:
        assert 0.95 < share(progress(host, *way), full) < 1.05, way


def test_rounding_to_the_nearest_would_not(host: StandaloneHost) -> None:
    """The same updates, stored in bfloat16 as torch stores them: hardly a weight moves."""
    full = progress(host, "full", "fp32")
    start = host.load("model").weights()[NAME].detach().clone()
    weight = torch.nn.Parameter(start.clone())
    plain = torch.optim.AdamW([weight], lr=RATE, betas=(0.9, 0.999), weight_decay=0.0)
    given = gradients(weight.shape)
    for _ in range(STEPS):
        weight.grad = next(given).to(BF16)
        plain.step()
    assert share((weight.detach() - start).double(), full) < 0.2
    with pytest.raises(BadInput, match="rounding to the nearest"):
        progress(host, "full", "bf16", "plain")
