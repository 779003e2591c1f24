"""Validation: who is held out, fixed noise, and losses that are those of the oracle for the oracle's own network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.prediction import row_of
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training.bins import oracle
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.times import at, at_timestep
from lib_astolfo.training.watch import validation
from lib_astolfo.training.watch.levels import Measure, curve, row
from lib_astolfo.training.watch.settings import Validation
from lib_astolfo.training.watch.spectrum import spectrum
from lib_astolfo.training.watch.validation import Looked, measure, some, split
from tests.training.watch.cases import SPECTRUM, latents, seen

COND = Conditioning(torch.zeros(1, 77, 8))
SETTINGS = Validation()


def _looked(count: int = 40) -> list[Looked]:
    return [Looked(f"item {index}", latent, COND) for index, latent in enumerate(latents(count))]


def test_a_share_is_held_out_whatever_is_added() -> None:
    ids = [f"{index:03}" for index in range(100)]
    trained, held = split(ids, ids, SETTINGS)
    assert len(held) == 15 and sorted([*trained, *held]) == ids
    _, more = split([*ids, "new"], [*ids, "new"], SETTINGS)
    assert len(set(held) ^ set(more)) <= 2
    assert split(ids, ids, Validation(seed=1))[1] != held
    assert split(ids[:6], ids[:6], SETTINGS) == (ids[:6], []), "a small set is trained on as a whole"
    assert len(split(ids[:7], ids[:7], SETTINGS)[1]) == 1
    assert split(ids, ids, Validation(share=0.0))[1] == []


def test_copies_of_a_picture_stay_together() -> None:
    ids = [f"{index // 2:03}" for index in range(40)]
    trained, held = split(ids, ids, SETTINGS)
    assert held and not set(trained) & set(held)
    assert split(["a"] * 20, ["a"] * 20, SETTINGS) == (["a"] * 20, [])


def test_some_are_looked_at_in_their_order() -> None:
    ids = [f"{index:03}" for index in range(50)]
    found = some(ids, ids, Validation(most=10))
    assert len(found) == 10 and found == sorted(found) and some(ids[:5], ids[:5], SETTINGS) == ids[:5]


class _Best:
    """The best linear network for white pictures of variance ``s``."""

    def __init__(self, sampling: Sampling, s: float, factor: float = 1.0) -> None:
        self.sampling, self.s, self.factor, self.calls = sampling, s, factor, 0

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        self.calls += 1
        levels = (
            at(timestep.double() / 1000, self.sampling)
            if self.sampling.prediction == "rf"
            else at_timestep(timestep.long(), self.sampling)
        )
        alpha, sigma = levels.rows(x)
        total = alpha**2 * self.s + sigma**2
        x0, noise = alpha * self.s / total * x, sigma / total * x
        return row_of(self.sampling, native=True).target(x0, noise, alpha, sigma) * self.factor


@pytest.mark.parametrize("prediction", ["eps", "v", "rf"])
def test_the_best_network_measures_one_under_every_objective(prediction: str) -> None:
    sampling = Sampling(prediction)
    generator = torch.Generator().manual_seed(1)
    items = [Looked(str(i), torch.randn(4, 16, 16, generator=generator) * 0.7, COND) for i in range(24)]
    errors = measure(_Best(sampling, 0.49), items, sampling, SETTINGS, batch=4)
    found = validation.row("held_out", 7, errors, sampling, SETTINGS, torch.tensor([0.49], dtype=torch.float64))
    assert found["mean"] == pytest.approx(1.0, rel=0.03) and 0 < found["error"] < 0.03
    assert all(value == pytest.approx(1.0, rel=0.08) for value in found["relative"])
    worse = measure(_Best(sampling, 0.49, 2.0), items, sampling, SETTINGS)
    assert bool((worse.mean(dim=1) > errors.mean(dim=1)).all())


def test_the_noise_is_the_pictures_own() -> None:
    """Two measurements are equal bit for bit, whatever the order, the batch, or who else is looked at."""
    network, items = _Best(Sampling("v"), 0.5), _looked(6)
    first = measure(network, items, Sampling("v"), SETTINGS, batch=6)
    again = measure(network, items[::-1][:4], Sampling("v"), SETTINGS, batch=6)
    assert torch.equal(first.flip(0)[:4], again)
    parts = measure(network, items, Sampling("v"), SETTINGS, batch=4)
    torch.testing.assert_close(first, parts, rtol=1e-6, atol=0)
    other = measure(network, items, Sampling("v"), Validation(seed=6))
    assert not torch.allclose(first, other)


def test_without_pictures_there_is_no_mean() -> None:
    sampling = Sampling("v")
    empty = measure(_Best(sampling, 0.5), [], sampling, SETTINGS)
    assert math.isnan(validation.row("held_out", 0, empty, sampling, SETTINGS, None)["mean"])


def test_losses_by_level_are_one_for_the_best_whatever_is_predicted() -> None:
    for prediction in ("eps", "v", "rf"):
        objective = Objective(Sampling(prediction))
        rows = [
            row(seen(s, 1.0, batch=64, objective=objective, spread=0.0), Measure(objective, SPECTRUM)) for s in range(9)
        ]
        assert [v for v in curve(rows) if v == v] == pytest.approx([1.0] * sum(v == v for v in curve(rows)))
        assert rows[0]["relative"] == pytest.approx(1.0) and sum(level[1] for level in rows[0]["levels"]) == 64


def test_a_teachers_targets_are_kept_apart() -> None:
    objective = Objective(Sampling("v"))
    made = row(seen(0, 1.0, batch=64, objective=objective, taught=32), Measure(objective, SPECTRUM))
    real, taught = curve([made]), curve([made], distilled=True)
    assert made["distilled"] == 32 and any(v == v for v in real) and any(v == v for v in taught)
    assert sum(count for place, count, *_ in made["levels"] if place >= 9) == 32


def test_the_spectrum_of_known_pictures() -> None:
    """White channels of variances 4 and 0.25, and a coarse picture whose power is in the coarsest shells."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([2.0, 0.5])[:, None, None]
    white = [torch.randn(2, *shape, generator=generator) * scale for shape in 40 * [(8, 12), (12, 8), (10, 10)]]
    found = spectrum(white)
    assert len(found) == 48 and float(found.mean()) == pytest.approx((4 + 0.25) / 2, rel=0.05)
    assert float(found[1::2].min()) > 3 and float(found[::2].max()) < 0.4
    coarse = spectrum(latents(40))
    assert float(coarse[:12].mean()) > 10 * float(coarse[-12:].mean())
    assert float(spectrum([torch.ones(4, 8, 8)] * 20).max()) < 1e-9, "the mean picture is known"
    with pytest.raises(ValueError, match="no latents"):
        spectrum([])
    best = oracle(found, at(torch.tensor([0.5]), Sampling("rf")), Sampling("rf"))
    assert 0 < float(best) < float(found.mean())
