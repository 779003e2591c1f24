"""Rectified flow: golden convergence, and every sampler right in mean and spread in exploding coordinates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.kdiffusion import sampling_module
from lib_astolfo.diffusion.noise import PictureNoise
from lib_astolfo.diffusion.own_samplers import sample_dpmpp_2s_ancestral_rf, sample_euler_ancestral_rf
from lib_astolfo.diffusion.samplers import SAMPLERS
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import SCHEDULES
from tests.diffusion.golden_data import entry, tensors
from tests.diffusion.test_trajectories import NOISE, guided
from tests.diffusion.toy import COND, network

K = sampling_module()
BASE = tensors("toy_definition")["B"]
MEAN, SPREAD = 0.7, 0.5
CASES = {"eps": Sampling(), "v ZTSNR": Sampling("v", True), "rf": Sampling("rf", shift=3.0)}


def endpoint(sigma: float) -> Tensor:
    """Where the exact flow ends that is at the golden noise at level ``sigma``."""
    spread = ((1 - sigma) ** 2 * 0.25 + sigma**2) ** 0.5
    return BASE + 0.5 * (NOISE[:1] - (1 - sigma) * BASE) / spread


@pytest.mark.parametrize("sampler", sorted(entry("rf_deterministic_sampler_convergence")["value"]))
def test_deterministic_samplers_converge(sampler: str) -> None:
    model, args = guided("rf_shift3", "cfg1_null", native=True)
    for steps, expected in entry("rf_deterministic_sampler_convergence")["value"][sampler].items():
        sigmas = torch.cat([torch.linspace(0.999, 0.001, int(steps)), torch.zeros(1)])
        made = getattr(K, f"sample_{sampler}")(model, NOISE[:1], sigmas, extra_args=args, disable=True)
        assert float((made - endpoint(0.999)).abs().max()) == pytest.approx(expected, rel=0.02, abs=2e-5)


@pytest.mark.parametrize("name", sorted(entry("rf_dpmpp2m_schedule_sensitivity")["value"]))
def test_dpmpp2m_schedule_sensitivity(name: str) -> None:
    sampler, _, schedule = name.rpartition("/")
    model, args = guided("rf_shift3", "cfg1_null", native=True)
    sigmas = SCHEDULES[schedule.replace("beta", "beta_a1111")](model.denoiser, 20)
    made = getattr(K, f"sample_{sampler or 'dpmpp_2m'}")(model, NOISE[:1], sigmas, extra_args=args, disable=True)
    expected = entry("rf_dpmpp2m_schedule_sensitivity")["value"][name]
    assert float((made - endpoint(1.0)).abs().max()) == pytest.approx(expected, rel=0.02, abs=1e-4)


def test_euler_is_the_same_in_both_coordinates() -> None:
    finals = []
    for native in (True, False):
        model, args = guided("rf_shift3", "cfg5_null", native=native)
        sigmas = SCHEDULES["simple"](model.denoiser, 10)
        finals.append(K.sample_euler(model, NOISE[:1] * sigmas[0], sigmas, extra_args=args, disable=True))
    apart = float((finals[0] - finals[1]).abs().max())
    assert apart <= 1.5 * entry("rf_as_ve")["euler_vs_const_max"]


class Model:
    """Gaussian data of mean 0.7 and spread 0.5, whatever the text."""

    def __init__(self, sampling: Sampling, *, native: bool = False) -> None:
        self.denoiser = Denoiser(network(sampling, lambda cond: torch.tensor(MEAN)), sampling, native=native)
        self.cond = Conditioning(torch.zeros(1, 77, 1))

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoiser(x, sigma, cond=self.cond)


@pytest.mark.parametrize("sampler", sorted(entry("rf_as_ve")["statistics"]))
def test_flow_statistics_of_unmodified_samplers(sampler: str) -> None:
    golden = entry("rf_as_ve")["statistics"][sampler]
    model, noise = Model(CASES["rf"]), PictureNoise([1], (1, 128, 128))
    sigmas = SCHEDULES["simple"](model.denoiser, 60)
    x = noise.draw() * sigmas[0]
    names = {"euler_a": "sample_euler_ancestral", "dpmpp_2s_a": "sample_dpmpp_2s_ancestral"}
    stochastic = sampler.endswith(("_a", "sde"))  # the golden figures were made with independent noise for all of them
    options: dict[str, Any] = {"noise_sampler": noise.ancestral(x)} if stochastic else {}
    made = getattr(K, names.get(sampler, f"sample_{sampler}"))(model, x, sigmas, disable=True, **options)
    assert float(made.mean()) == pytest.approx(golden["mean"], abs=0.03)
    assert float(made.std()) == pytest.approx(golden["std"], abs=0.03)


@pytest.mark.parametrize(
    ("function", "key"),
    [(sample_euler_ancestral_rf, "euler_a RF formula"), (sample_dpmpp_2s_ancestral_rf, "dpmpp_2s_a RF formula")],
    ids=["euler_a", "dpmpp_2s_a"],
)
def test_flow_statistics_of_native_samplers(function: Any, key: str) -> None:
    golden = entry("rf_stochastic_sampler_statistics")["value"][key]
    model, noise = Model(CASES["rf"], native=True), PictureNoise([2], (1, 128, 128))
    sigmas = SCHEDULES["simple"](model.denoiser, 60)
    sigmas[0] = 0.9999
    x = noise.draw()
    made = function(model, x, sigmas, noise_sampler=noise.ancestral(x))
    assert float(made.mean()) == pytest.approx(golden["mean"], abs=0.02)
    assert float(made.std()) == pytest.approx(golden["std"], abs=0.02)


@pytest.mark.parametrize("kind", sorted(CASES))
@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"Euler CFG++"}))
def test_every_sampler_reaches_the_true_distribution(name: str, kind: str) -> None:
    """With many steps only Monte Carlo error is left: 0.004 in the mean, 0.003 in the spread of 16384 samples."""
    brownian = SAMPLERS[name].noise == "brownian"
    model, noise = Model(CASES[kind]), PictureNoise([3], (1, 128, 128))
    schedule = {"eps": "karras", "v ZTSNR": "sgm_uniform", "rf": "sgm_uniform"}[kind]
    steps = (200 if kind == "rf" else 100) if brownian else 400
    sigmas = SCHEDULES[schedule](model.denoiser, steps)
    x = MEAN + noise.draw() * (SPREAD**2 + sigmas[0] ** 2).sqrt()
    made = SAMPLERS[name].sample(model, x, sigmas, noise=noise)
    assert float(made.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(made.std()) == pytest.approx(SPREAD, abs=0.02)


@pytest.mark.parametrize("kind", sorted(CASES))
def test_cfgpp_at_scale_one_is_euler(kind: str) -> None:
    """With the same text on both sides CFG++ and Euler take the same steps."""
    name = {"eps": "eps", "v ZTSNR": "v_ztsnr", "rf": "rf_shift3"}[kind]
    model, args = guided(name, "cfg1_null")
    args["cond"] = args["uncond"].chosen
    noise = PictureNoise([4], (4, 4, 4))
    sigmas = SCHEDULES["simple"](model.denoiser, 8)
    x = noise.draw() * sigmas[0]
    both = [SAMPLERS[s].sample(model, x, sigmas, noise=noise, extra_args=args) for s in ("Euler", "Euler CFG++")]
    torch.testing.assert_close(both[0], both[1], rtol=1e-3, atol=2e-3)
    assert args["cond"] is not COND
