"""The objective: targets by hand, identities, precision, timesteps as in sampling, combinations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.training.distill import Distillation
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.losses import Loss
from lib_astolfo.training.noise import Noise
from lib_astolfo.training.objective import Objective, make, read
from lib_astolfo.training.times import Moments, Times, at, at_timestep, draw
from lib_astolfo.training.weights import Weights

V, ZERO, RF, RF3 = Sampling("v"), Sampling("v", True), Sampling("rf"), Sampling("rf", shift=3.0)
ALL = [Sampling(), V, ZERO, Sampling("x0"), Sampling("x0", True), RF, RF3]


def pictures(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0, noise = torch.randn(2, count, 2, 3, 3, generator=generator, dtype=torch.float64)
    return x0.to(dtype), noise.to(dtype)


def levels(sampling: Sampling, count: int) -> Moments:
    return draw(Times(), sampling, Draws(1, 0, tuple(range(count))))


@pytest.mark.parametrize("sampling", ALL, ids=Sampling.describe)
def test_targets_by_hand(sampling: Sampling) -> None:
    x0, noise = pictures(64)
    moments = levels(sampling, 64)
    a, s = moments.rows(x0)
    made = make(x0, noise, moments, sampling)
    by_hand = {"eps": noise, "v": a * noise - s * x0, "x0": x0, "rf": noise - x0}[sampling.prediction]
    assert torch.allclose(made.target, by_hand, atol=1e-14)
    assert torch.allclose(made.input, a * x0 + s * noise, atol=1e-14)
    if sampling.prediction == "rf":
        assert torch.allclose(a + s, torch.ones(()).double(), atol=1e-14)
    else:
        assert torch.allclose(a * a + s * s, torch.ones(()).double(), atol=1e-14)


@pytest.mark.parametrize("sampling", ALL, ids=Sampling.describe)
def test_a_perfect_output_is_read_back(sampling: Sampling) -> None:
    x0, noise = pictures(64)
    moments = levels(sampling, 64)
    a, s = moments.rows(x0)
    made = make(x0, noise, moments, sampling)
    found = read(made.target, made.input, moments, sampling)
    for value, expected in zip(found, (x0, noise, a * noise - s * x0, noise - x0), strict=True):
        assert torch.allclose(value, expected, atol=1e-10)


def test_the_terminal_step_is_pure_noise() -> None:
    x0, noise = pictures(1)
    moments = at_timestep(torch.tensor([999]), ZERO)
    made = make(x0, noise, moments, ZERO)
    assert torch.equal(made.input, noise)
    assert torch.equal(made.target, -x0)
    assert torch.equal(read(made.target, made.input, moments, ZERO).x0, x0)
    assert moments.snr.item() == 0.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sampling", [Sampling(), V, ZERO], ids=Sampling.describe)
def test_schedule_is_float32_for_low_precision(sampling: Sampling, dtype: torch.dtype) -> None:
    moments = at_timestep(torch.arange(1000), sampling)
    x0 = torch.zeros(1000, 1, 1, 1, dtype=dtype)
    alpha, sigma = moments.rows(x0)
    assert alpha.dtype == sigma.dtype == torch.float32
    assert len(sigma.unique()) == 1000
    assert bool((sigma > 0).all())
    assert float((alpha**2 + sigma**2 - 1).abs().max()) < 3e-7
    made = make(x0, torch.ones_like(x0), moments, sampling)
    assert made.input.dtype == dtype
    assert made.target.dtype == torch.float32
    noised = make(x0.float(), torch.ones_like(x0), moments, sampling).input
    assert torch.equal(made.input, noised.to(dtype)), "one rounding, at the end"


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_rf_timesteps_are_those_of_sampling(shift: float) -> None:
    sampling = Sampling("rf", shift=shift)
    asked: list[Tensor] = []

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        asked.append(timestep)
        return x

    denoiser = Denoiser(network, sampling, native=True)
    moments = draw(Times(), sampling, Draws(3, 0, tuple(range(500))))
    sigma = moments.sigma.float()
    denoiser(torch.zeros(500, 1), sigma)
    assert torch.equal(asked[0], moments.timestep)
    assert torch.equal(1000.0 * sigma, moments.timestep)
    table = at(denoiser.sigmas.double(), sampling)
    denoiser(torch.zeros(1000, 1), denoiser.sigmas)
    assert torch.equal(asked[1], table.timestep)
    assert len(moments.timestep.frac().unique()) > 100, "timesteps are not rounded down"


def test_diffusion_levels_are_those_of_sampling() -> None:
    for sampling in (V, ZERO):
        moments = at_timestep(torch.arange(999), sampling)
        denoiser = Denoiser(lambda x, t: x, sampling)
        assert torch.allclose(moments.ratio.float(), denoiser.sigmas[:999], rtol=3e-5)
        assert torch.allclose(denoiser.timestep(moments.ratio.float()), moments.timestep, atol=2e-3)
        assert denoiser.timestep(denoiser.sigmas)[999] == 999


def test_input_perturbation_leaves_the_target() -> None:
    x0, noise = pictures(4)
    moments = levels(V, 4)
    made = make(x0, noise, moments, V, seen=noise + 1.0)
    plain = make(x0, noise, moments, V)
    assert torch.equal(made.target, plain.target)
    assert torch.allclose(made.input - plain.input, moments.rows(x0)[1].expand_as(x0))


REFUSED = [
    ("sampling.prediction", {"sampling": Sampling("mixed")}),
    ("weights.kind", {"sampling": RF, "weights": Weights("min_snr")}),
    ("weights.kind", {"sampling": RF, "weights": Weights("debiased")}),
    ("weights.kind", {"sampling": Sampling("x0"), "weights": Weights("debiased")}),
    ("weights.form", {"weights": Weights("min_snr", form="floor")}),
    ("weights.form", {"sampling": Sampling("x0"), "weights": Weights("min_snr", form="diffusers")}),
    ("weights.form", {"sampling": ZERO, "weights": Weights("min_snr", form="paper")}),
    ("noise.offset", {"sampling": RF, "noise": Noise(offset=0.05)}),
    ("noise.offset", {"sampling": ZERO, "noise": Noise(offset=0.05)}),
    ("noise.multires_iterations", {"sampling": ZERO, "noise": Noise(multires_iterations=6)}),
    ("times.minimum", {"times": Times("logit_normal", std=0.02, minimum=0.9)}),
]


@pytest.mark.parametrize(("where", "parts"), REFUSED)
def test_contradictions_are_refused(where: str, parts: dict) -> None:
    with pytest.raises(BadInput) as caught:
        Objective(**parts)
    assert caught.value.where == where


def test_they_may_be_meant() -> None:
    Objective(ZERO, weights=Weights("min_snr", form="paper", paper_with_ztsnr=True))
    Objective(RF, noise=Noise(offset=0.05, biased=True))


WRONG = [
    (Times, {"distribution": "beta"}, "times.distribution"),
    (Times, {"std": 0.0}, "times.std"),
    (Times, {"mode_scale": 1.8}, "times.mode_scale"),
    (Times, {"minimum": 0.5, "maximum": 0.5}, "times.maximum"),
    (Times, {"mean": float("nan")}, "times.mean"),
    (Times, {"stratified": 1}, "times.stratified"),
    (Weights, {"kind": "p2"}, "weights.kind"),
    (Weights, {"gamma": 0}, "weights.gamma"),
    (Loss, {"kind": "l2"}, "loss.kind"),
    (Loss, {"huber_c": "0.1"}, "loss.huber_c"),
    (Noise, {"offset": -0.1}, "noise.offset"),
    (Noise, {"multires_iterations": 2.0}, "noise.multires_iterations"),
    (Noise, {"offset": 0.1, "multires_iterations": 2}, "noise.multires_iterations"),
    (Distillation, {"share": 1.5}, "distill.share"),
    (Distillation, {"beyond": "me"}, "distill.beyond"),
    (Distillation, {"teacher": Sampling("mixed")}, "distill.teacher.prediction"),
]


@pytest.mark.parametrize(("kind", "values", "where"), WRONG)
def test_values_out_of_range_are_refused(kind: type, values: dict, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        kind(**values)
    assert caught.value.where == where


def test_plain_values_round_trip() -> None:
    objective = Objective(
        RF3, Times("logit_normal", mean=0.5), loss=Loss("huber"), distill=Distillation(ZERO, share=0.25)
    )
    assert Objective.from_dict(objective.to_dict()) == objective
    assert Objective.from_dict({}) == Objective()
    assert Objective.from_dict({"sampling": {"prediction": "v"}, "weights": {"kind": "debiased"}}).weights.kind
    for wrong in ({"wieghts": {}}, {"weights": {"kindd": 1}}, {"distill": {"teacher": {"shfit": 1}}}):
        with pytest.raises(BadInput):
            Objective.from_dict(wrong)
