"""reForge's sampling object: the one table of predictions in its words. No WebUI is needed."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.reforge.model_sampling import ModelSampling

READINGS = (
    Sampling("eps"),
    Sampling("v"),
    Sampling("v", zero_terminal_snr=True),
    Sampling("x0"),
    Sampling("rf"),
    Sampling("rf", shift=3.0),
    Sampling("mixed", mixed_weight=0.25),
)


class Own:
    """The host's sampling object, as far as ours knows it."""

    def __init__(self) -> None:
        self.given: torch.Tensor | None = None

    def set_sigmas(self, sigmas: torch.Tensor) -> None:
        self.given = sigmas


def made(sampling: Sampling, like: str = "comfy") -> ModelSampling:
    return ModelSampling(Denoiser(lambda *args, **kw: torch.zeros(()), sampling, like=like), Own())


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sampling", READINGS, ids=Sampling.describe)
def test_a_perfect_network_gives_the_picture(sampling: Sampling) -> None:
    ours = made(sampling)
    sigma = ours.sigmas[torch.tensor([3, 400, 990])]
    x0, noise = drawn(3, 4, 8, 8), drawn(3, 4, 8, 8).flip(0)
    x = x0 + sigma.reshape(-1, 1, 1, 1) * noise
    row = ours.denoiser.row
    alpha, share = row.path(sigma.reshape(-1, 1, 1, 1))
    output = row.target(x0, noise, alpha, share, weight=sampling.mixed_weight)
    torch.testing.assert_close(ours.calculate_input(sigma, x), alpha * x)
    found = ours.calculate_denoised(sigma, output, x)
    scale = x.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert float(((found - x0) / scale).abs().max()) < 1e-5


@pytest.mark.parametrize("sampling", READINGS, ids=Sampling.describe)
@pytest.mark.parametrize("like", ["a1111", "comfy"])
def test_it_is_the_denoiser_in_other_words(sampling: Sampling, like: str) -> None:
    seen: list[torch.Tensor] = []

    def network(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        seen.append(timestep)
        return 0.3 * x.sin() + 0.001 * timestep.reshape(-1, 1, 1, 1)

    denoiser = Denoiser(network, sampling, like=like)
    ours = ModelSampling(denoiser, Own())
    sigma = torch.tensor([0.05, 0.71, 11.0])
    x = drawn(3, 4, 8, 8) * sigma.reshape(-1, 1, 1, 1)
    expected = denoiser(x, sigma)
    timestep = ours.timestep(sigma)
    found = ours.calculate_denoised(sigma, network(ours.calculate_input(sigma, x), timestep), x)
    assert torch.equal(found, expected)
    assert torch.equal(seen[0], seen[1])


def test_whole_timesteps_as_the_host_has_them() -> None:
    """ModelSamplingDiscrete.timestep: the nearest of the table by log sigma."""
    ours = made(Sampling("v"))
    sigma = torch.linspace(0.03, 14.6, 200)
    nearest = (sigma.log()[None] - ours.log_sigmas[:, None]).abs().argmin(dim=0)
    assert torch.equal(ours.timestep(sigma), nearest.float())


def test_flow_is_told_its_own_time_whatever_the_shift() -> None:
    for shift in (1.0, 3.0, 8.0):
        sigma = torch.tensor([0.25, 1.0, 4.0])
        torch.testing.assert_close(
            made(Sampling("rf", shift=shift)).timestep(sigma), torch.tensor([200.0, 500.0, 800.0])
        )


def test_schedules_of_flow_have_the_shift() -> None:
    """sigma(t) is what reForge's schedules ask for; half of the way is 3·0.5 / (1 + 2·0.5) = 0.75 of noise."""
    sigma = made(Sampling("rf", shift=3.0)).sigma(torch.tensor([500.0]))
    torch.testing.assert_close(sigma / (1.0 + sigma), torch.tensor([0.75]))


@pytest.mark.parametrize("sampling", READINGS, ids=Sampling.describe)
def test_first_noise_and_ends(sampling: Sampling) -> None:
    ours = made(sampling)
    latent, noise = drawn(2, 4, 8, 8), drawn(2, 4, 8, 8).flip(0)
    sigma = torch.tensor(2.0)
    torch.testing.assert_close(ours.noise_scaling(sigma, noise, latent), latent + 2.0 * noise)
    assert torch.equal(ours.inverse_noise_scaling(sigma, latent), latent)
    whole = ours.noise_scaling(sigma, noise, torch.zeros_like(latent), max_denoise=True)
    factor = 2.0 if sampling.prediction == "rf" else 5.0**0.5
    torch.testing.assert_close(whole, factor * noise)
    assert ours.percent_to_sigma(0.0) >= float(ours.sigma_max) > float(ours.sigma_min) > 0.0
    assert ours.percent_to_sigma(1.0) == 0.0


def test_half_precision_does_not_overflow() -> None:
    ours = made(Sampling("v", zero_terminal_snr=True))
    sigma = ours.sigma_max.half().reshape(1)
    x = (drawn(1, 4, 8, 8) * 10).half()
    assert torch.isfinite(ours.calculate_input(sigma, x)).all()
    assert torch.isfinite(ours.calculate_denoised(sigma, drawn(1, 4, 8, 8), x)).all()


def test_levels_that_the_host_sets_are_its_own() -> None:
    ours = made(Sampling("rf", shift=3.0))
    before = ours.sigmas.clone()
    ours.set_sigmas(torch.ones(1000))
    assert ours.own.given is not None
    assert torch.equal(ours.sigmas, before)
    assert set(dict(ours.named_buffers())) == {"sigmas", "log_sigmas"}


def test_other_levels_than_the_schedules() -> None:
    """Where a host rescaled its levels twice, the network is told by those, and the formulas are the same."""
    plain = made(Sampling("v", zero_terminal_snr=True))
    levels = plain.denoiser.levels.over(plain.sigmas * 1.01)
    ours = ModelSampling(plain.denoiser.over(levels), Own())
    torch.testing.assert_close(ours.sigmas, plain.sigmas * 1.01)
    between = plain.sigmas[torch.tensor([500])]
    assert float(plain.timestep(between)) == 500.0
    nearest = (between.log() - ours.log_sigmas).abs().argmin()
    assert float(ours.timestep(between)) == float(nearest) != 500.0
    x = drawn(1, 4, 8, 8)
    assert torch.equal(ours.calculate_input(between, x), plain.calculate_input(between, x))
    assert torch.equal(plain.sigmas, made(Sampling("v", zero_terminal_snr=True)).sigmas)
