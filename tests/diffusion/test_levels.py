"""The names of a noise level: sigma, place, timestep and percent."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.levels import Levels
from lib_astolfo.diffusion.sampling import Sampling
from tests.diffusion.golden_data import entry

SAMPLINGS = {"eps": Sampling(), "ztsnr": Sampling("v", True)}


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_sigma_to_timestep_vp(kind: str) -> None:
    golden = entry("sigma_to_timestep_vp")
    sigmas = torch.tensor(golden["sigmas"])
    a1111, comfy = (Levels(SAMPLINGS[kind], like=like) for like in ("a1111", "comfy"))
    expected = torch.tensor(golden[kind]["kdiff_fractional"])
    torch.testing.assert_close(a1111.timestep(sigmas), expected, rtol=0, atol=2e-3)
    assert comfy.timestep(sigmas).tolist() == golden[kind]["comfy"]
    if kind == "ztsnr":
        high = torch.tensor([100.0, 1000.0, 4518.0])
        expected = torch.tensor(golden[kind]["sigma_100_1000_4518"]["kdiff"])
        torch.testing.assert_close(a1111.timestep(high), expected, rtol=0, atol=2e-3)
        assert comfy.timestep(high).tolist() == golden[kind]["sigma_100_1000_4518"]["comfy"]


def test_quantized_place_is_the_nearest() -> None:
    golden = entry("sigma_to_timestep_vp")
    denoiser = Denoiser(lambda x, t: x, Sampling())
    assert (
        denoiser.sigma_to_t(torch.tensor(golden["sigmas"]), quantize=True).tolist() == golden["eps"]["kdiff_quantized"]
    )


@pytest.mark.parametrize("kind", SAMPLINGS)
@pytest.mark.parametrize(("like", "key"), [("a1111", "kdiff"), ("comfy", "comfy")])
def test_timestep_to_sigma_vp(kind: str, like: str, key: str) -> None:
    golden = entry("timestep_to_sigma_vp")
    made = Levels(SAMPLINGS[kind], like=like).at(torch.tensor(golden["timesteps"]))
    torch.testing.assert_close(made, torch.tensor(golden[kind][key]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("shift", ["1", "2.5", "3", "5"])
def test_rf_sigma_timestep(shift: str) -> None:
    golden = entry("rf_sigma_timestep")
    levels, probe = Levels(Sampling("rf", shift=float(shift))), torch.tensor(golden["probe"])
    torch.testing.assert_close(levels.timestep(probe), torch.tensor(golden["timestep_of_sigma"]), rtol=1e-6, atol=0)
    expected = torch.tensor(golden["sigma_of_t1000"][shift])
    torch.testing.assert_close(levels.from_timestep(1000 * probe), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_percent_to_sigma(kind: str) -> None:
    golden = entry("percent_to_sigma")
    denoiser = Denoiser(lambda x, t: x, SAMPLINGS[kind], like="comfy")
    made = [denoiser.percent_to_sigma(percent) for percent in golden["percent"]]
    assert made == pytest.approx(golden[kind], rel=1e-5)


@pytest.mark.parametrize("shift", ["1", "2.5", "3", "5"])
def test_percent_to_sigma_of_flow(shift: str) -> None:
    golden = entry("percent_to_sigma")
    sampling = Sampling("rf", shift=float(shift))
    native = Denoiser(lambda x, t: x, sampling, native=True)
    exploding = Denoiser(lambda x, t: x, sampling)
    for percent, expected in zip(golden["percent"], golden["rf"][shift], strict=True):
        assert native.percent_to_sigma(percent) == pytest.approx(expected, rel=1e-5)
        if percent > 0:
            assert exploding.percent_to_sigma(percent) == pytest.approx(expected / (1 - expected), rel=1e-5)
    assert exploding.percent_to_sigma(0) > float(exploding.sigma_max)


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling("v", True), Sampling("rf"), Sampling("rf", shift=12.0)], ids=Sampling.describe
)
@pytest.mark.parametrize("like", ["a1111", "exact"])
def test_place_and_sigma_undo_each_other(sampling: Sampling, like: str) -> None:
    denoiser = Denoiser(lambda x, t: x, sampling, like=like)
    places = torch.linspace(0, 998, 333)
    torch.testing.assert_close(denoiser.sigma_to_t(denoiser.t_to_sigma(places)), places, rtol=0, atol=0.05)
    top = denoiser.sigma_to_t(denoiser.sigma_max.reshape(1))
    assert top.tolist() == [999.0]
    assert float(denoiser.t_to_sigma(top)) == pytest.approx(float(denoiser.sigma_max), rel=1e-6)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 12.0, 100.0])
def test_flow_table_rises_to_a_finite_end(shift: float) -> None:
    denoiser = Denoiser(lambda x, t: x, Sampling("rf", shift=shift))
    assert bool((denoiser.sigmas.diff() > 0).all()) and bool(denoiser.sigmas.isfinite().all())
    assert float(denoiser.sigma_max) >= 9999


def test_places_of_many_sigmas_on_and_between_the_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch.searchsorted, which Apple's MPS lacks before torch 2.2."""
    monkeypatch.delattr(torch, "searchsorted")
    levels = Levels(Sampling("v", True))
    between = levels.at(torch.arange(999) + 0.25)
    both = torch.stack([levels.sigmas[:-1], between])
    expected = torch.stack([torch.arange(999.0), torch.arange(999) + 0.25])
    torch.testing.assert_close(levels.place(both), expected, rtol=0, atol=2e-2)


def test_levels_outside_the_table_keep_its_ends() -> None:
    levels = Levels(Sampling())
    assert levels.place(torch.tensor([0.0, 1e-9, 1e9])).tolist() == [0.0, 0.0, 999.0]
