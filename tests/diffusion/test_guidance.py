"""Guidance: the golden combinations, rescale in the right space, CFG++, and one batch for both passes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.guidance import (
    Guidance,
    GuidedDenoiser,
    cfg,
    cfg_and,
    cfg_perturbed,
    cfg_rescale,
    cfgpp_step,
    rescale_x0,
)
from lib_astolfo.diffusion.prediction import TABLE, convert, vp_path
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import UncondPlan
from tests.diffusion.golden_data import entry, tensors
from tests.diffusion.toy import COND, NULL, network

DATA = tensors("cfg")
COND_X0, UNCOND_X0 = DATA["cond_denoised"], DATA["uncond_denoised"]
GUIDED = cfg(COND_X0, UNCOND_X0, 5.0)
SIGMA = torch.tensor([5.0, 5.0])
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("host", ["a1111", "reforge"])
def test_cfg(host: str) -> None:
    torch.testing.assert_close(GUIDED, DATA[f"{host}_cfg_5"], **CLOSE)


def test_cfg_and() -> None:
    parts = [COND_X0, DATA["perturbed_denoised"], UNCOND_X0]  # picture i: its conds as (which of the x0 given, weight)
    given = torch.cat(parts)
    plan = [[(0, 1.0), (2, 0.6)], [(1, 1.0), (3, -0.3)]]
    for picture, conds in enumerate(plan):
        made = cfg_and([(given[index], weight) for index, weight in conds], UNCOND_X0[picture], 5.0)
        torch.testing.assert_close(made, DATA["a1111_AND_weights"][picture], **CLOSE)


def test_cfg_perturbed() -> None:
    made = cfg_perturbed(GUIDED, COND_X0, DATA["perturbed_denoised"], 3.0)
    torch.testing.assert_close(made, DATA["pag_cfg5_s3"], **CLOSE)


@pytest.mark.parametrize("rescale", ["0.0", "0.7", "1.0"])
@pytest.mark.parametrize("row", ["v", "eps"])
def test_rescale_as_comfyui(rescale: str, row: str) -> None:
    made = rescale_x0(GUIDED, COND_X0, DATA["x"], SIGMA, rescale=float(rescale), row=TABLE[row])
    torch.testing.assert_close(made, DATA[f"rescale_comfy_{rescale}"], **CLOSE)


@pytest.mark.parametrize("quantity", ["eps", "v"])
def test_rescale_as_diffusers(quantity: str) -> None:
    alpha, sigma = vp_path(SIGMA.reshape(-1, 1, 1, 1))
    z = alpha * DATA["x"]
    guided, cond = (convert(x0, z, alpha, sigma, have="x0", want=quantity) for x0 in (GUIDED, COND_X0))
    made = convert(cfg_rescale(guided, cond, 0.7), z, alpha, sigma, have=quantity, want="x0")
    torch.testing.assert_close(made, DATA[f"rescale_diffusers_{quantity}_0.7"], **CLOSE)


def test_rescale_of_flow_is_the_same_in_both_coordinates() -> None:
    expected = DATA["rescale_rf_velocity_0.7_sigma0.8"]
    sigma = torch.tensor([0.8, 0.8])
    native = rescale_x0(GUIDED, COND_X0, DATA["x_rf"], sigma, rescale=0.7, row=TABLE["rf"])
    torch.testing.assert_close(native, expected, **CLOSE)
    exploding = rescale_x0(GUIDED, COND_X0, DATA["x_rf"] / 0.2, sigma / 0.2, rescale=0.7, row=TABLE["rf_ve"])
    torch.testing.assert_close(exploding, expected, **CLOSE)


@pytest.mark.parametrize("row", ["eps", "v", "rf_ve"])
def test_no_rescale_is_cfg(row: str) -> None:
    made = rescale_x0(GUIDED, COND_X0, DATA["x"], SIGMA, rescale=0.0, row=TABLE[row])
    torch.testing.assert_close(made, GUIDED, rtol=1e-5, atol=1e-5)
    assert torch.equal(cfg_rescale(GUIDED, COND_X0, 0.0), GUIDED)


def test_full_rescale_has_the_spread_of_the_cond() -> None:
    made = cfg_rescale(GUIDED, COND_X0, 1.0)
    torch.testing.assert_close(made.std(dim=(1, 2, 3)), COND_X0.std(dim=(1, 2, 3)))
    assert bool(cfg_rescale(torch.zeros(1, 4, 2, 2), COND_X0[:1], 1.0).isfinite().all())


def test_cfgpp_step() -> None:
    guided, golden = cfg(COND_X0, UNCOND_X0, 0.6), tensors("cfgpp_step")
    torch.testing.assert_close(cfgpp_step(DATA["x"], guided, UNCOND_X0, 5.0, 3.0), golden["ve"], **CLOSE)
    native = cfgpp_step(DATA["x_rf"], guided, UNCOND_X0, 0.8, 0.5, native=True)
    torch.testing.assert_close(native, golden["rf"], **CLOSE)
    exploding = cfgpp_step(DATA["x_rf"] / 0.2, guided, UNCOND_X0, 4.0, 1.0)
    torch.testing.assert_close(exploding * 0.5, golden["rf"], **CLOSE)


class Spy:
    """A network that counts its calls and answers with the first text channel."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, z: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        self.calls.append(len(z))
        assert len(z) == len(timestep) == len(cond)
        return cond.crossattn[:, 0, 0].reshape(-1, 1, 1, 1).expand_as(z)


def test_cfg1_shortcut() -> None:
    """Scale 1 skips the uncond, as reForge does; at any other scale both are there, so nothing is ever multiplied."""
    skipped = [only_cond for only_cond, _ in [entry("reforge_cfg1_shortcut")["value"][1]]]
    assert skipped == [False]
    assert entry("reforge_cfg1_shortcut")["uncond_none_cfg5_equals_5x_cond"]
    spy = Spy()
    wrapped, x, sigma = Denoiser(spy, Sampling("x0")), torch.zeros(3, 4, 2, 2), torch.ones(3)
    for scale, batch, expected in ((1.0, 3, 1.0), (5.0, 6, -0.2 + 5 * 1.2), (0.0, 6, -0.2)):
        made = GuidedDenoiser(wrapped, Guidance(scale))(x, sigma, cond=COND, uncond=UncondPlan.always(NULL))
        assert spy.calls.pop() == batch and not spy.calls
        torch.testing.assert_close(made, torch.full_like(x, expected))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling("v", True), Sampling("rf", shift=3)], ids=Sampling.describe)
def test_guided_denoiser_rescales(sampling: Sampling) -> None:
    torch.manual_seed(5)
    ramp = torch.arange(4.0).reshape(4, 1, 1)
    answer = network(sampling, lambda cond: cond.crossattn[:, 0, :1].reshape(-1, 1, 1, 1) * ramp)
    wrapped = Denoiser(answer, sampling)
    x, sigma = 3 * torch.randn(2, 4, 8, 8), torch.tensor([3.0, 3.0])
    plain, rescaled = (
        GuidedDenoiser(wrapped, Guidance(6.0, rescale))(x, sigma, cond=COND, uncond=UncondPlan.always(NULL))
        for rescale in (0.0, 1.0)
    )
    cond = wrapped(x, sigma, cond=COND.expand(2))
    expected = rescale_x0(plain, cond, x, sigma, rescale=1.0, row=wrapped.row)
    torch.testing.assert_close(rescaled, expected)
    assert float(rescaled.std()) < float(plain.std())


def test_the_range_of_an_uncond_is_followed() -> None:
    spy = Spy()
    guided = GuidedDenoiser(Denoiser(spy, Sampling("x0")), Guidance(0.0))
    plan = UncondPlan(chosen=NULL, host=COND, sigma_start=8.0, sigma_end=2.0)
    seen = [
        float(guided(torch.zeros(1, 4, 2, 2), torch.tensor([sigma]), cond=COND, uncond=plan).mean())
        for sigma in (9.0, 8.0, 5.0, 2.0, 1.0)
    ]
    assert seen == pytest.approx([1.0, -0.2, -0.2, -0.2, 1.0])
