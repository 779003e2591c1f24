"""The table of predictions: golden scalings, and the algebra it must obey."""

from __future__ import annotations

import itertools

import pytest
import torch

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.prediction import (
    QUANTITIES,
    TABLE,
    convert,
    flow_ve_path,
    row_of,
    vp_path,
)
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from tests.diffusion.golden_data import entry, tensors
from tests.diffusion.toy import network, posterior

SAMPLINGS = [
    Sampling("eps"),
    Sampling("v"),
    Sampling("v", zero_terminal_snr=True),
    Sampling("x0"),
    Sampling("x0", zero_terminal_snr=True),
    Sampling("mixed", mixed_weight=0.3),
    Sampling("mixed", zero_terminal_snr=True, mixed_weight=0.8),
    Sampling("rf"),
    Sampling("rf", shift=3.0),
]


@pytest.mark.parametrize("row", ["eps", "v", "x0", "edm", "rf"])
def test_precond(row: str) -> None:
    golden, data = entry("precond"), tensors("precond")
    sigma = torch.tensor(golden["sigmas_rf" if row == "rf" else "sigmas_vp"]).reshape(-1, 1, 1, 1)
    x, raw = data["x_rf" if row == "rf" else "x_ve"], data["model_output"]
    skip, out, scale = TABLE[row].scalings(sigma)
    key = "edm_sd0.5" if row == "edm" else row
    for made, expected in ((x * scale, f"{key}/c_in_x"), (skip * x + out * raw, f"{key}/denoised")):
        assert bool(((made - data[expected]).abs() <= 1e-5 * data[expected].abs() + 1e-5 * sigma).all())


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "rf"])
@pytest.mark.parametrize("max_denoise", [False, True])
def test_noise_scaling(prediction: str, max_denoise: bool) -> None:
    golden, data = entry("precond"), tensors("precond")
    sigma = torch.tensor(golden["sigmas_rf" if prediction == "rf" else "sigmas_vp"]).reshape(-1, 1, 1, 1)
    wrapped = Denoiser(lambda x, t: x, Sampling(prediction), native=True)
    made = wrapped.add_noise(data["latent"], data["noise"], sigma, max_denoise=max_denoise)
    expected = data[f"{prediction}/noise_scaling" + ("_max" if max_denoise else "")]
    assert bool(((made - expected).abs() <= 1e-5 * expected.abs() + 1e-5 * sigma).all())


@pytest.mark.parametrize(("row", "key"), [("eps", "EpsScaling"), ("v", "VScaling"), ("edm", "EDMScaling_sd0_5")])
def test_precond_scalings(row: str, key: str) -> None:
    golden = entry("precond_scalings")
    made = TABLE[row].scalings(torch.tensor(golden["sigmas"], dtype=torch.float64))._asdict()
    for name, values in made.items():
        assert values.tolist() == pytest.approx(golden[key][name], rel=1e-6)


def test_precond_scalings_of_flow() -> None:
    sigma = torch.linspace(0.001, 1.0, 50, dtype=torch.float64)
    skip, out, scale = TABLE["rf"].scalings(sigma)
    assert torch.equal(skip, torch.ones_like(sigma)) and torch.equal(scale, skip)
    torch.testing.assert_close(out, -sigma)
    s = sigma[:-1] / (1 - sigma[:-1])
    skip, out, scale = TABLE["rf_ve"].scalings(s)
    for made, expected in ((skip, 1 / (1 + s)), (scale, 1 / (1 + s)), (out, -s / (1 + s))):
        torch.testing.assert_close(made, expected, rtol=1e-6, atol=0)
    shifted = Denoiser(lambda x, t: x, Sampling("rf", shift=7.0))
    torch.testing.assert_close(shifted.timestep(s), 1000 * sigma[:-1].float())


@pytest.mark.parametrize("path", [vp_path, flow_ve_path], ids=lambda path: path.__name__)
@pytest.mark.parametrize(("have", "want"), list(itertools.product(QUANTITIES, QUANTITIES)))
def test_conversions_undo_each_other(path, have: str, want: str) -> None:
    torch.manual_seed(1)
    alpha, sigma = path(torch.tensor([0.03, 0.5, 3.0, 14.6, 300.0], dtype=torch.float64).reshape(-1, 1, 1, 1))
    x0, noise = torch.randn(2, 5, 4, 3, 3, dtype=torch.float64)
    z = alpha * x0 + sigma * noise
    truth = {"x0": x0, "eps": noise, "v": alpha * noise - sigma * x0, "velocity": noise - x0}
    made = convert(truth[have], z, alpha, sigma, have=have, want=want)
    torch.testing.assert_close(made, truth[want], rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(convert(made, z, alpha, sigma, have=want, want=have), truth[have], rtol=1e-8, atol=1e-9)


def test_unknown_quantity_is_refused() -> None:
    one = torch.ones(1)
    with pytest.raises(BadInput, match="velocity"):
        convert(one, one, one, one, have="u", want="v")


@pytest.mark.parametrize("row", sorted(TABLE))
@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_target_and_solution_undo_each_other(row: str, weight: float) -> None:
    torch.manual_seed(2)
    s = torch.tensor([0.05, 0.3, 0.7, 0.99]).double().reshape(-1, 1, 1, 1)
    alpha, sigma = TABLE[row].path(s)
    x0, noise = torch.randn(2, 4, 4, 2, 2, dtype=torch.float64)
    output = TABLE[row].target(x0, noise, alpha, sigma, weight=weight)
    solved = TABLE[row].x0_noise(output, alpha * x0 + sigma * noise, alpha, sigma, weight=weight)
    torch.testing.assert_close(solved, (x0, noise), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=Sampling.describe)
@pytest.mark.parametrize("native", [False, True])
def test_a_perfect_network_gives_the_picture(sampling: Sampling, native: bool) -> None:
    """For a point x0 the network's answer is known exactly, and D must return x0 at every noise level."""
    torch.manual_seed(3)
    wrapped = Denoiser(lambda z, timestep: answer, sampling, native=native)
    row = row_of(sampling, native=native)
    assert wrapped.row is row
    sigma = wrapped.sigmas[[0, 100, 500, 900, 998, 999]]
    x0, noise = torch.randn(2, 6, 4, 8, 8)
    alpha, share = row.path(sigma.double().reshape(-1, 1, 1, 1))
    z = alpha * x0 + share * noise
    x = z if row.native else z / alpha
    answer = row.target(x0, noise, alpha, share, weight=sampling.mixed_weight)
    made = wrapped(x, sigma.double())
    tolerance = 2e-4 if sampling.zero_terminal_snr else 1e-5
    torch.testing.assert_close(made, x0.double(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=Sampling.describe)
def test_the_network_gets_unit_variance_and_its_timestep(sampling: Sampling) -> None:
    seen = {}

    def spy(z: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        seen.update(z=z, timestep=timestep)
        return torch.zeros_like(z)

    wrapped = Denoiser(spy, sampling)
    x0, noise = torch.randn(2, 3, 4, 64, 64)
    sigma = wrapped.sigmas[[10, 500, 999]]
    wrapped(wrapped.add_noise(x0, noise, sigma.reshape(-1, 1, 1, 1)), sigma)
    assert seen["timestep"].dtype == torch.float32 and seen["timestep"].shape == (3,)
    if sampling.prediction == "rf":
        expected = [1000 * float(level) for level in wrapped.levels.sigmas[[10, 500]]]
        assert seen["timestep"].tolist() == pytest.approx([*expected, 999.9], rel=1e-4)
    else:
        assert seen["timestep"].tolist() == pytest.approx([10, 500, 999], abs=1e-2)
        assert seen["z"].std(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=0.03)


@pytest.mark.parametrize("sampling", [s for s in SAMPLINGS if s.zero_terminal_snr], ids=Sampling.describe)
def test_pure_noise_stays_finite(sampling: Sampling) -> None:
    """At the last level of zero terminal SNR, and in the limit above it, D is the network's own guess."""
    torch.manual_seed(4)
    guess = torch.randn(1, 4, 4, 4)
    raw = guess if sampling.prediction == "x0" else -guess
    for sigma in (4518.76, 1e6, 1e12):
        made = Denoiser(lambda z, t: raw, sampling)(sigma * torch.randn(1, 4, 4, 4), torch.tensor([sigma]))
        assert bool(made.isfinite().all())
        if sampling.prediction != "mixed":
            torch.testing.assert_close(made, guess, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("weight", "same"), [(0.0, "eps"), (1.0, "v")])
def test_mixed_ends_are_eps_and_v(weight: float, same: str) -> None:
    s = torch.logspace(-2, 3, 40, dtype=torch.float64)
    for made, expected in zip(TABLE["mixed"].scalings(s, weight=weight), TABLE[same].scalings(s), strict=True):
        torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_mixed_reads_a_blend_of_both_outputs(weight: float) -> None:
    """F = (1-w) F_eps + w F_v is read as if there were one network: D of the known answer is the answer."""
    s = torch.logspace(-1, 1.5, 12, dtype=torch.float64)
    alpha, sigma = vp_path(s)
    x0, noise = posterior(torch.linspace(-1, 1, 12).double(), 0.7, alpha, sigma)
    blend = (1 - weight) * noise + weight * (alpha * noise - sigma * x0)
    skip, out, _ = TABLE["mixed"].scalings(s, weight=weight)
    x = (alpha * x0 + sigma * noise) / alpha
    torch.testing.assert_close(skip * x + out * blend, x0)
    share = 1 / (1 + s * s).sqrt()  # the closed form
    bottom = (1 - weight) * share + weight
    torch.testing.assert_close(skip, ((1 - weight) + weight * share) * share / bottom)
    torch.testing.assert_close(out, -s * share / bottom)


def test_half_precision_is_widened() -> None:
    wrapped = Denoiser(lambda z, t: torch.zeros_like(z).half(), Sampling("v", True))
    assert wrapped(torch.ones(1, 4, 2, 2).half(), torch.tensor([3.0])).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_noise_levels_are_widened_too(dtype: torch.dtype) -> None:
    """4519 squared is more than float16 holds: with c_in = 0 everything would be NaN."""
    guess, sigma = torch.full((1, 4, 2, 2), 0.5), torch.tensor([4519.0], dtype=dtype)
    wrapped = Denoiser(lambda z, t: -guess, Sampling("v", True))
    torch.testing.assert_close(wrapped((sigma * torch.ones(1, 4, 2, 2)).to(dtype), sigma), guess, rtol=0, atol=2e-3)


def test_keywords_reach_the_network() -> None:
    answer = network(Sampling("v"), lambda cond: cond.crossattn.mean())
    wrapped = Denoiser(answer, Sampling("v"))
    x = 0.7 + torch.tensor([10.0]).reshape(1, 1, 1, 1) * torch.randn(1, 4, 2, 2)
    cond = Conditioning(torch.full((1, 77, 2), 5.0))
    assert float(wrapped(x, torch.tensor([10.0]), cond=cond).mean()) == pytest.approx(5.0, abs=0.1)
