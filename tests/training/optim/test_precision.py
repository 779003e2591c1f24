"""16-bit weights make the progress of float32 ones at the rates of finetuning, or the settings are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.settings import Settings, check, notes

COUNT, STEPS = 6000, 250
BF16, FP16 = torch.bfloat16, torch.float16


def progress(rate: float, dtype: torch.dtype, precision: str = "auto", **options: object) -> tuple[Tensor, float]:
    """How far weights ~ N(0, 0.025) came from their start, and the share that moved in the last step."""
    generator = torch.Generator().manual_seed(0)
    start = (torch.randn(COUNT, generator=generator) * 0.025).to(BF16)
    slope = torch.randn(COUNT, generator=generator)
    weight = nn.Parameter(start.to(dtype, copy=True))
    settings = Settings(precision=precision, clip=0.0, **{"weight_decay": 0.0, **options})  # type: ignore[arg-type]
    optimiser = Optimiser({"unet": {"w": weight}}, settings)
    for step in range(STEPS):
        optimiser.begin(step, {"unet": rate})
        optimiser.backward((weight.float() * (slope + torch.randn(COUNT, generator=generator))).sum())
        moved = optimiser.finish().moved
    return optimiser.exact()["w"].double() - start.double(), moved


@pytest.mark.parametrize("rate", [1.5e-6, 1e-5])
def test_progress_is_that_of_float32(rate: float) -> None:
    full, moved = progress(rate, torch.float32)
    assert moved > 0.99
    for precision in ("stochastic", "master"):
        half, moved = progress(rate, BF16, precision)
        assert 0.95 < (half @ full / (full @ full)).item() < 1.05, precision
        assert 0.005 < moved < 0.3, "bfloat16 weights move by turns"


def test_fused_stochastic_rounding_gives_the_same_bits() -> None:
    assert torch.equal(progress(1e-5, BF16)[0], progress(1e-5, BF16, fused=True)[0])


def test_weight_decay_arrives() -> None:
    """Decay alone: 250 steps of 4e-4 · 0.1 take 1 % off each weight; rounding to the nearest would take nothing."""
    for precision in ("stochastic", "master"):
        weight = nn.Parameter(torch.full((20_000,), 1.0, dtype=BF16))
        optimiser = Optimiser({"unet": {"w": weight}}, Settings(precision=precision, weight_decay=0.1))
        for step in range(250):
            optimiser.begin(step, {"unet": 4e-4})
            optimiser.backward((weight * 0).sum())
            optimiser.finish()
        assert optimiser.exact()["w"].mean().item() == pytest.approx((1 - 4e-5) ** 250, abs=2e-4)


def test_the_weight_is_the_rounded_master() -> None:
    weight = nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)).to(FP16))
    optimiser = Optimiser({"unet": {"w": weight}}, Settings())
    for step in range(5):
        optimiser.begin(step, {"unet": 1e-3}, scale=128.0)
        optimiser.backward(weight.float().square().sum())
        optimiser.finish()
    assert optimiser.weights["w"].master is not None
    assert torch.equal(weight.detach(), optimiser.exact()["w"].half())
    assert not torch.equal(weight.detach().float(), optimiser.exact()["w"])


@pytest.mark.parametrize("word", ["plain", "bf16", "nearest"])
def test_plain_rounding_is_refused_with_the_reason(word: str) -> None:
    with pytest.raises(BadInput, match=r"rounding to the nearest loses updates.*0\.9 %"):
        check(Settings(precision=word), {"w": BF16})


@pytest.mark.parametrize(
    ("settings", "dtype", "text"),
    [
        (Settings("sgd"), torch.float32, "adamw, adamw8bit, adafactor, lion, prodigy"),
        (Settings(precision="stochastic"), FP16, "master"),
        (Settings(), torch.int8, "quantised"),
        (Settings(betas=(0.9, 1.0)), BF16, "below 1"),
        (Settings(clip=float("nan")), BF16, "clip"),
        (Settings(accumulate=0), BF16, "accumulate"),
        (Settings(weight_decay=-1.0), BF16, "weight_decay"),
    ],
)
def test_what_cannot_be_is_refused(settings: Settings, dtype: torch.dtype, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        check(settings, {"w": dtype})


def test_settings_without_effect_are_told() -> None:
    full = {"w": torch.float32}
    assert notes(Settings(), {"w": BF16}) == ()
    assert "precision master has no effect" in notes(Settings(precision="master"), full)[0]
    assert notes(Settings("adafactor", betas=(0.9, 0.99)), full) == ("betas has no effect with adafactor",)
    assert "scale_parameter has no effect with lion" in notes(Settings("lion", scale_parameter=True), full)
    assert "seed has no effect" in notes(Settings(seed=3), full)[0]
    told = " ".join(notes(Settings(fused=True, accumulate=2), full))
    assert "each tensor by itself" in told and "left out" in told and "kept until" in told


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(BadInput, match="weights on a GPU"):
        Optimiser({"unet": {"w": nn.Parameter(torch.zeros(3))}}, Settings("adamw8bit"))
