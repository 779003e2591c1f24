"""Flow's schedules as a WebUI makes them: over flow's own levels, the same as ours, and the sampler as it was."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.kdiffusion import sampling_module
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import SCHEDULES
from lib_astolfo.diffusion.spacing import ALIGN_YOUR_STEPS
from lib_astolfo.hosts.webui.denoisers import SigmaDenoiser
from lib_astolfo.hosts.webui.schedules import over_own_levels

K = sampling_module()
#: Ours, where the name differs from A1111's.
OURS = {"uniform": "normal", "beta": "beta_a1111", "kl_optimal": "kl_optimal_hosts"}
NAMES = ("karras", "exponential", "polyexponential", "kl_optimal", "beta", "uniform", "sgm_uniform", "simple")


def a1111(name: str, wrap: Any, n: int) -> Tensor:
    """From the levels of ``wrap`` alone (modules/sd_schedulers.py)."""
    low, high = float(wrap.sigmas[0]), float(wrap.sigmas[-1])
    if name == "uniform":
        return wrap.get_sigmas(n)  # type: ignore[no-any-return]
    if name == "sgm_uniform":
        places = torch.linspace(*(float(wrap.sigma_to_t(torch.tensor(end))) for end in (high, low)), n + 1)[:-1]  # type: ignore[call-overload]
        return torch.tensor([*(float(wrap.t_to_sigma(place)) for place in places), 0.0])
    if name == "simple":
        return torch.tensor([*(float(wrap.sigmas[-(1 + int(i * 1000 / n))]) for i in range(n)), 0.0])
    if name == "kl_optimal":
        ends, share = (math.atan(low), math.atan(high)), torch.arange(n + 1) / n
        return torch.tan(share * ends[0] + (1 - share) * ends[1])
    if name == "beta":
        from scipy import stats

        return torch.tensor([*(low + stats.beta.ppf(1 - i / (n - 1), 0.6, 0.6) * (high - low) for i in range(n)), 0.0])
    return getattr(K, f"get_sigmas_{name}")(n, low, high)  # type: ignore[no-any-return]


def sampler_of(sampling: Sampling) -> tuple[Any, Denoiser]:
    denoiser = Denoiser(lambda x, t: x, sampling)
    return SimpleNamespace(model_wrap=SigmaDenoiser(denoiser, "model", torch.device("cpu"))), denoiser


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("name", NAMES)
def test_flow_has_the_same_schedules_in_a_webui(name: str, shift: float) -> None:
    sampler, denoiser = sampler_of(Sampling("rf", shift=shift))
    ours = sampler.model_wrap
    made = over_own_levels(sampler, denoiser, lambda: a1111(name, sampler.model_wrap, 28))
    expected = SCHEDULES[OURS.get(name, name)](denoiser, 28)
    torch.testing.assert_close(made[1:], expected[1:], rtol=2e-4, atol=1e-6)
    assert float(made[0]) == pytest.approx(float(denoiser.sigma_max), rel=1e-3)
    assert sampler.model_wrap is ours


@pytest.mark.parametrize("sampling", [Sampling(), Sampling("v", True)], ids=Sampling.describe)
def test_diffusion_s_schedules_are_left_alone(sampling: Sampling) -> None:
    sampler, denoiser = sampler_of(sampling)
    ours, seen = sampler.model_wrap, []
    made = torch.tensor([0.9, 0.5, 0.0])
    assert over_own_levels(sampler, denoiser, lambda: seen.append(sampler.model_wrap) or made) is made  # type: ignore[func-returns-value]
    assert seen == [ours]


def test_levels_that_were_not_made_over_flow_s_stay() -> None:
    """Align Your Steps is a list of sigmas; another extension's denoiser has levels of its own."""
    sampler, denoiser = sampler_of(Sampling("rf", shift=3.0))
    steps = torch.tensor([*ALIGN_YOUR_STEPS["sdxl"], 0.0])
    assert over_own_levels(sampler, denoiser, lambda: steps) is steps
    other = SimpleNamespace(model_wrap=SimpleNamespace(sigmas=denoiser.sigmas))
    levels = torch.tensor([1.0, 0.5, 0.0])
    assert over_own_levels(other, denoiser, lambda: levels) is levels


def test_the_sampler_has_its_denoiser_again_after_an_error() -> None:
    sampler, denoiser = sampler_of(Sampling("rf"))
    ours = sampler.model_wrap
    with pytest.raises(ZeroDivisionError):
        over_own_levels(sampler, denoiser, lambda: torch.tensor(1 / 0))
    assert sampler.model_wrap is ours
