"""Our denoisers where a WebUI's stand: k-diffusion's own figures, and exact noise on data that are known."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.kdiffusion import sampling_module
from lib_astolfo.diffusion.prediction import vp_path
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import alphas_cumprod, sigmas
from lib_astolfo.hosts.webui.denoisers import SigmaDenoiser, TimestepDenoiser
from lib_astolfo.hosts.webui.schedules import PLAIN_MAX, above, advice
from tests.diffusion.golden_data import entry
from tests.diffusion.toy import network, posterior

sampling_module()
EXTERNAL = importlib.import_module("k_diffusion.external")
CPU = torch.device("cpu")
CLASSES = {"eps": EXTERNAL.CompVisDenoiser, "v": EXTERNAL.CompVisVDenoiser}
MEAN = 0.7


class Model:
    """A model of A1111: a smooth function of everything it is told, and the schedule it was trained on."""

    def __init__(self, terminal: bool = False) -> None:
        share = 1.0 / (sigmas(terminal, like="a1111").double() ** 2 + 1.0)
        self.alphas_cumprod = share if terminal else alphas_cumprod().float()

    def apply_model(self, x: Tensor, timestep: Tensor, cond: float = 0.0) -> Tensor:
        return torch.sin(3 * x) + torch.cos(timestep / 100).reshape(-1, 1, 1, 1) * x + cond


def pair(prediction: str, *, whole: bool = False) -> tuple[SigmaDenoiser, Any]:
    """Ours, and what A1111 would have made for the same model."""
    model = Model()
    denoiser = Denoiser(model.apply_model, Sampling(prediction), like="comfy" if whole else "a1111")
    return SigmaDenoiser(denoiser, model, CPU), CLASSES[prediction](model, quantize=whole)


@pytest.mark.parametrize("whole", [False, True], ids=["fractional", "whole"])
@pytest.mark.parametrize("prediction", sorted(CLASSES))
def test_it_answers_as_the_host_s_own(prediction: str, whole: bool) -> None:
    ours, theirs = pair(prediction, whole=whole)
    assert ours.quantize == theirs.quantize == whole and ours.sigma_data == theirs.sigma_data
    x = torch.randn(7, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    sigma = torch.tensor([0.03, 0.1, 0.5, 1.0, 3.0, 10.0, 14.6])
    torch.testing.assert_close(
        ours(x * sigma.reshape(-1, 1, 1, 1), sigma, cond=0.5),
        theirs(x * sigma.reshape(-1, 1, 1, 1), sigma, cond=0.5),
        rtol=1e-5,
        atol=2e-4,
    )


def test_its_levels_are_the_host_s_own() -> None:
    ours, theirs = pair("eps")
    for name in ("sigmas", "log_sigmas", "sigma_min", "sigma_max"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-7)
    for count in (None, 1, 7, 30):
        torch.testing.assert_close(ours.get_sigmas(count), theirs.get_sigmas(count), rtol=2e-6, atol=1e-7)
    sigma = torch.tensor([0.02, 0.0291675, 0.5, 3.3, 14.6, 20.0])
    torch.testing.assert_close(ours.sigma_to_t(sigma), theirs.sigma_to_t(sigma).float(), rtol=1e-5, atol=2e-3)
    assert torch.equal(ours.sigma_to_t(sigma, quantize=True), theirs.sigma_to_t(sigma, quantize=True))
    places = torch.tensor([0.0, 0.25, 500.5, 998.75, 999.0])
    torch.testing.assert_close(ours.t_to_sigma(places), theirs.t_to_sigma(places), rtol=2e-6, atol=1e-7)


def test_the_host_finds_its_model_in_it() -> None:
    ours, _ = pair("v")
    assert isinstance(ours.inner_model, Model) and isinstance(ours, torch.nn.Module)


def known(sampling: Sampling, timesteps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x at these timesteps, the noise that is best seen in it, and the path."""
    levels = Denoiser(lambda x, t: x, sampling).levels
    alpha, sigma = vp_path(levels.at(timesteps.float()).double().reshape(-1, 1, 1, 1))
    x = torch.randn(len(timesteps), 4, 3, 3, generator=torch.Generator().manual_seed(2)).double()
    return x, posterior(x, MEAN, alpha, sigma)[1], alpha, sigma


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling("v"),
        Sampling("v", True),
        Sampling("x0"),
        Sampling("x0", True),
        Sampling("mixed", mixed_weight=0.3),
        Sampling("mixed", True, 1.0, 0.3),
    ],
    ids=Sampling.describe,
)
def test_every_prediction_of_diffusion_gives_its_exact_noise(sampling: Sampling) -> None:
    timesteps = torch.tensor([1, 34, 500, 900, 998, 999])
    x, noise, _, _ = known(sampling, timesteps)
    asked: list[dict[str, Any]] = []
    perfect = network(sampling, lambda cond: torch.tensor(MEAN))

    def answer(z: Tensor, timestep: Tensor, **kw: Any) -> Tensor:
        asked.append(kw)
        return perfect(z, timestep, cond=kw["cond"])

    alphas = alphas_cumprod(sampling.zero_terminal_snr)
    made = TimestepDenoiser(answer, sampling, alphas, "model")
    torch.testing.assert_close(made(x, timesteps.float(), cond=3), noise, rtol=2e-4, atol=2e-4)
    assert asked == [{"cond": 3}] and made.inner_model == "model"


def test_another_reading_of_the_same_network_gives_other_noise() -> None:
    timesteps = torch.tensor([500.0])
    x, noise, _, _ = known(Sampling("v"), timesteps)
    perfect = network(Sampling("v"), lambda cond: torch.tensor(MEAN))
    wrong = TimestepDenoiser(lambda z, t: perfect(z, t, cond=None), Sampling(), alphas_cumprod(), None)  # type: ignore[arg-type]
    assert float((wrong(x, timesteps) - noise).abs().max()) > 0.1


def test_v_is_turned_into_noise_as_the_host_does_it() -> None:
    """modules/sd_samplers_timesteps.py, CompVisTimestepsVDenoiser: sqrt(a) v + sqrt(1 - a) x at the whole timestep."""
    model, timesteps = Model(), torch.tensor([7.0, 500.6, 999.0])
    ours = TimestepDenoiser(model.apply_model, Sampling("v"), model.alphas_cumprod, model)
    x = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(3))
    share = model.alphas_cumprod[timesteps.to(torch.int)].reshape(-1, 1, 1, 1)
    expected = share.sqrt() * model.apply_model(x, timesteps) + (1 - share).sqrt() * x
    torch.testing.assert_close(ours(x, timesteps), expected, rtol=1e-5, atol=1e-5)


def schedule(name: str, denoiser: Denoiser, steps: int) -> Tensor:
    """As A1111 makes it (modules/sd_schedulers.py), where that differs from the table."""
    k = sampling_module()
    low, high = float(denoiser.sigma_min), float(denoiser.sigma_max)
    if name == "karras":
        return k.get_sigmas_karras(steps, low, high)
    if name in ("exponential", "polyexponential"):
        return k.get_sigmas_exponential(steps, low, high)
    from lib_astolfo.diffusion.schedule import SCHEDULES

    return SCHEDULES[{"uniform": "normal", "beta": "beta_a1111"}.get(name, name)](denoiser, steps)


@pytest.mark.parametrize("name", sorted(entry("schedule_ztsnr_waste")["value"]))
def test_wasteful_schedules_are_named_and_the_others_are_not(name: str) -> None:
    """Golden: of 28 steps Beta wastes 27, Karras 19, Exponential 13, the others 2 to 4; Align Your Steps ends there."""
    wasted = entry("schedule_ztsnr_waste")["value"][name]
    denoiser = Denoiser(lambda x, t: x, Sampling("v", True))
    made = schedule(name, denoiser, 28)
    assert above(made) == wasted
    words = advice(made, denoiser)
    if name == "align_your_steps":
        assert words.startswith("the schedule starts at sigma 14.6") and "the model at 4519" in words
    elif wasted > 4:
        assert words.startswith(f"the schedule spends {wasted} of 28 steps above sigma 14.6")
    else:
        assert words == ""
    assert not words or words.endswith("use SGM Uniform or Simple")


@pytest.mark.parametrize("steps", [2, 4, 10, 60])
@pytest.mark.parametrize("sampling", [Sampling("v", True), Sampling("rf"), Sampling("rf", shift=12.0)])
def test_what_is_advised_is_not_complained_of(sampling: Sampling, steps: int) -> None:
    denoiser = Denoiser(lambda x, t: x, sampling)
    for name in ("sgm_uniform", "simple"):
        assert advice(schedule(name, denoiser, steps), denoiser) == ""


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_is_warned_of_a_last_step_that_jumps(shift: float) -> None:
    """An exact network shows it: 40 steps of Uniform with DPM++ 2M end at a spread of 0.557 for 0.5."""
    denoiser = Denoiser(lambda x, t: x, Sampling("rf", shift=shift))
    words = advice(schedule("uniform", denoiser, 40), denoiser)
    assert words.startswith("the schedule falls from sigma 0.0") and words.endswith("use SGM Uniform or Simple")
    diffusion = Denoiser(lambda x, t: x, Sampling("v", True))
    assert advice(schedule("uniform", diffusion, 40), diffusion) == ""


def test_plain_diffusion_needs_no_advice() -> None:
    denoiser = Denoiser(lambda x, t: x, Sampling())
    assert float(denoiser.sigma_max) < PLAIN_MAX
    assert advice(schedule("karras", denoiser, 28), denoiser) == ""


def test_an_img2img_tail_is_not_taken_for_a_bad_start() -> None:
    """The advice is on whole schedules: one that starts above plain diffusion is not told to start higher."""
    denoiser = Denoiser(lambda x, t: x, Sampling("v", True))
    assert "starts at" not in advice(torch.tensor([2000.0, 10.0, 1.0, 0.0]), denoiser)
