"""The probes on networks that are exact for Gaussian pictures: every family, merges, zero- and null-trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.pictures import Estimate, Pictures
from lib_astolfo.diffusion.prediction import TABLE
from lib_astolfo.diffusion.probe import FAMILIES, MIXED, Family, blended, probe_prediction
from lib_astolfo.diffusion.probe_uncond import UncondGap, percent_of, probe_uncond
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput, Failed, Stopped
from tests.diffusion.golden_data import tensors
from tests.diffusion.toy import VARIANCE, golden_mean, network, text

Net = Callable[..., Tensor]
COUNT = 48
UNCONDS = {"zero": text(0.0), "null": text(-0.2), "comma": text(-0.19)}


def pictures(mean: float = 1.0, *, count: int = COUNT, batch: int = 16) -> Pictures:
    """What a toy with ``golden_mean`` is exact for under the caption ``mean``."""
    generator = torch.Generator().manual_seed(3)
    pattern = tensors("toy_definition")["B"]
    latents = mean * pattern + math.sqrt(VARIANCE) * torch.randn((count, *pattern.shape[1:]), generator=generator)
    return Pictures(latents, text(mean).expand(count), seed=7, batch=batch)


def toy(prediction: str, **more: float) -> Net:
    return network(Sampling(prediction, **more), golden_mean)


def merge(a: Net, b: Net, ratio: float) -> Net:
    """As merged weights answer, if networks were linear in them."""
    return lambda z, t, cond: (1.0 - ratio) * a(z, t, cond) + ratio * b(z, t, cond)


def probe(net: Net, **more: object) -> Family:
    return probe_prediction(net, pictures(), **more)


@pytest.mark.parametrize("prediction", ["eps", "v", "rf"])
def test_every_pure_family_is_found(prediction: str) -> None:
    found = probe(toy(prediction))
    assert found.prediction == found.best == prediction
    assert found.margin.mean > MIXED and found.margin.error < 0.02
    assert found.words().startswith(f"{prediction}: ")
    assert found.blend.gain < 0.02
    least = min(found.readings, key=lambda reading: reading.log_error.mean)
    assert least.prediction == prediction and len(least.by_sigma) == len(found.sigmas) == 4
    assert least.log_error.mean == pytest.approx(sum(least.by_sigma) / 4)


@pytest.mark.parametrize(("index", "prediction"), enumerate(FAMILIES))
def test_the_error_is_that_of_the_exact_posterior(index: int, prediction: str) -> None:
    """E‖D - x0‖² = σ²s²/(s² + σ²) for each number of a Gaussian picture of variance s²."""
    found = probe_prediction(toy(prediction), pictures(count=400, batch=400), sigmas=(0.5,))
    pattern = tensors("toy_definition")["B"]
    expected = VARIANCE * 0.25 / (VARIANCE + 0.25) / float((pattern**2).mean() + VARIANCE)
    assert found.readings[index].by_sigma[0] == pytest.approx(0.5 * math.log(expected), abs=0.03)


@pytest.mark.parametrize("weight", [0.1, 0.25, 0.5])
def test_a_merge_of_eps_and_v_is_mixed_with_its_share(weight: float) -> None:
    found = probe(toy("mixed", mixed_weight=weight))
    assert found.blend.families == ("eps", "v")
    assert found.blend.weight == pytest.approx(weight, abs=0.051)
    assert found.blend.share.mean == pytest.approx(weight, abs=0.02)
    assert found.blend.shares()["v"] == pytest.approx(weight, abs=0.02)
    assert found.blend.gain > 0.1
    if weight == 0.25:
        assert found.prediction == "mixed" and found.margin.mean < MIXED
        assert "75 % eps and 25 % v" in found.words()


def test_the_share_of_v_survives_faults_that_move_the_smallest_error() -> None:
    """Noise in the answer: the scan goes up, because the reading of v damps it, the share stays."""
    exact = toy("mixed", mixed_weight=0.25)
    noise = torch.Generator().manual_seed(1)

    def faulty(z: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        return exact(z, timestep, cond) + 0.2 * torch.randn(z.shape, generator=noise)

    found = probe(faulty)
    assert found.blend.weight >= 0.3
    assert found.blend.share.mean == pytest.approx(0.25, abs=0.04)


def test_a_merge_of_v_and_rf_is_mixed() -> None:
    found = probe(merge(toy("v"), toy("rf"), 0.5))
    assert found.prediction == "mixed"
    assert found.blend.families == ("v", "rf")
    assert found.blend.share.mean == pytest.approx(0.5, abs=0.16)
    mostly_v, mostly_rf = (probe(merge(toy("v"), toy("rf"), ratio)) for ratio in (0.2, 0.8))
    assert mostly_v.blend.share.mean < found.blend.share.mean < mostly_rf.blend.share.mean


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_blended_eps_and_v_is_the_row_mixed(weight: float) -> None:
    alpha, sigma = TABLE["mixed"].path(torch.tensor([0.3, 3.0]))
    z, output = torch.randn(2, 2, generator=torch.Generator().manual_seed(0))
    ours, row = blended(("eps", "v")), TABLE["mixed"]
    for one, other in zip(
        ours.x0_noise(output, z, alpha, sigma, weight=weight),
        row.x0_noise(output, z, alpha, sigma, weight=weight),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_small_margin_alone_is_no_merge() -> None:
    """At low noise eps and v are nearly one, but an exact eps network is read best as eps."""
    found = probe(toy("eps"), sigmas=(0.5, 0.6))
    assert found.prediction == "eps" and found.margin.mean < MIXED
    assert "no merge of two reads it better" in found.words()


def test_a_network_that_knows_nothing_is_unknown() -> None:
    found = probe(lambda z, t, cond: 0.05 * torch.randn(z.shape, generator=torch.Generator().manual_seed(5)))
    assert found.prediction == "unknown"
    assert "No reading denoises" in found.words()


def test_batches_and_repetition_change_nothing() -> None:
    one, other = (probe_prediction(toy("v"), pictures(batch=size)) for size in (16, 7))
    assert one.margin.mean == pytest.approx(other.margin.mean, rel=1e-5)
    assert one == probe_prediction(toy("v"), pictures(batch=16))
    other_seed = replace(pictures(), seed=8)
    assert probe_prediction(toy("v"), other_seed).margin != one.margin


def test_nan_stop_and_nonsense_are_told() -> None:
    with pytest.raises(Failed, match="NaN or infinity at sigma 0"):
        probe(lambda z, t, cond: z * math.nan)
    with pytest.raises(Stopped):
        probe(toy("eps"), tick=_stop)
    with pytest.raises(BadInput, match="sigmas"):
        probe(toy("eps"), sigmas=(0.0,))
    with pytest.raises(BadInput, match="pictures"):
        Pictures(torch.zeros(2, 4, 4, 4), text(1.0))
    with pytest.raises(BadInput, match="sigmas"):
        gap(toy("eps"), sigmas=(100.0,))
    assert gap(toy("v", zero_terminal_snr=True), Sampling("v", True), sigmas=(3.0, 100.0)).high is not None


def _stop() -> None:
    raise Stopped("stopped")


def gap(net: Net, sampling: Sampling | None = None, *, mean: float = 0.0, **more: object) -> UncondGap:
    """Probed with pictures that the caption ``mean`` describes."""
    return probe_uncond(net, pictures(mean), UNCONDS, sampling=sampling or Sampling(), **more)


@pytest.mark.parametrize(("mean", "trained"), [(0.0, "zero"), (-0.2, "null"), (-0.1, "unclear")])
@pytest.mark.parametrize("prediction", ["eps", "v", "rf"])
def test_the_dropout_kind_of_a_toy(prediction: str, mean: float, trained: str) -> None:
    """The pictures have the mean that this uncond stands for: its branch is the exact one."""
    found = gap(toy(prediction), Sampling(prediction), mean=mean)
    assert found.trained == trained and not found.drifted
    assert found.low is not None and found.low.mean == pytest.approx(1.0, abs=0.04)
    advised = {"zero": "Use zero.", "null": "Use null.", "unclear": "Either may be used"}[trained]
    assert found.advice.startswith(advised)
    assert trained == "unclear" or f"{trained.capitalize()} denoises better" in found.words()


def test_gap_and_ratio_are_those_of_the_two_posteriors() -> None:
    """D = mean + s²/(s² + σ²)(x - mean) differs between means by σ²/(s² + σ²) of their distance."""
    found = gap(toy("eps"), sigmas=(3.0,)).levels[0]
    pattern, share = tensors("toy_definition")["B"], 9.0 / (VARIANCE + 9.0)
    apart = 0.2 * share * float(pattern.norm())
    drawn = float((0.2 * share * pattern).norm() ** 2 + 64 * (VARIANCE / (VARIANCE + 9.0)) ** 2 * (VARIANCE + 9.0))
    assert found.gap.mean == pytest.approx(apart / math.sqrt(drawn), rel=0.1)
    spread = 64 * VARIANCE * share
    assert found.ratio.mean == pytest.approx(spread / (spread + apart**2), rel=0.04)
    assert found.comma_gap.mean == pytest.approx(0.05 * found.gap.mean, rel=0.05)
    assert 0.98 < found.comma_ratio.mean < 1.0


def test_a_zero_branch_left_behind_at_low_noise_has_drifted() -> None:
    exact = toy("eps")

    def drifted(z: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        zeroed = (cond.crossattn.abs().amax(dim=(1, 2)) == 0).float()
        late = (timestep < 300).float()
        return exact(z, timestep, cond) + 0.3 * (zeroed * late).reshape(-1, 1, 1, 1)

    found = gap(drifted)
    assert found.trained == "zero" and found.drifted
    assert "Uncond null from" in found.advice and "drifted" in found.words()
    assert gap(drifted, sigmas=(3.0,)).low is None
    only_low = gap(drifted, sigmas=(0.1,))
    assert only_low.high is None and "nothing can be said" in only_low.words()


def test_one_picture_has_no_error_and_decides_nothing() -> None:
    found = probe_uncond(toy("eps"), pictures(0.0, count=1), UNCONDS, sampling=Sampling())
    assert math.isnan(found.levels[0].ratio.error) and found.trained == "unclear"


@pytest.mark.parametrize("sampling", [Sampling(), Sampling("v", True), Sampling("rf", shift=3.0)])
def test_percent_of_is_the_way_back(sampling: Sampling) -> None:
    denoiser = Denoiser(lambda x, t: x, sampling)
    assert denoiser.percent_to_sigma(percent_of(denoiser, 1.0)) == pytest.approx(1.0, rel=1e-3)


def test_estimates() -> None:
    found = Estimate.of(torch.tensor([1.0, 2.0, 3.0]))
    assert (found.mean, found.error) == (2.0, pytest.approx(1 / math.sqrt(3)))
    exact = Estimate.ratio(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2.0, 4.0, 8.0]))
    assert (exact.mean, exact.error) == (0.5, 0.0)
    assert str(Estimate(1.0, 0.25)) == "1.000 ± 0.250"
