"""Draws of times and noise: their distributions, and that they depend on seed, step and item alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.chance import LANES, Stream, normal_rows, uniform_rows, word_rows
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.training import noise as noises
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.noise import Noise
from lib_astolfo.training.times import Times, draw, quantile, share_below, shifted, window

EPS, ZERO, RF, RF3 = Sampling(), Sampling("v", True), Sampling("rf"), Sampling("rf", shift=3.0)
COUNT = 20_000
MANY = tuple(range(COUNT))
NORMAL = Times("logit_normal")


def flow(times: Times, sampling: Sampling = RF, step: int = 0, items: tuple[int, ...] = MANY) -> Tensor:
    return draw(times, sampling, Draws(5, step, items)).sigma


def test_uniform_and_its_range() -> None:
    t = flow(Times())
    assert float(t.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(t.var()) == pytest.approx(1 / 12, abs=0.002)
    part = flow(Times(minimum=0.2, maximum=0.6))
    assert float(part.min()) >= 0.2 - 1e-7
    assert float(part.max()) <= 0.6 + 1e-7
    assert float(part.mean()) == pytest.approx(0.4, abs=0.01)


def test_logit_normal_by_the_papers_figures() -> None:
    t = flow(NORMAL)
    assert float(t.mean()) == pytest.approx(0.5, abs=0.006)
    assert float((t > 0.9).double().mean()) == pytest.approx(0.014, abs=0.003)
    t = flow(NORMAL, RF3)
    assert float(t.mean()) == pytest.approx(0.714, abs=0.006)
    assert float((t > 0.9).double().mean()) == pytest.approx(0.136, abs=0.008)
    moved = torch.logit(flow(Times("logit_normal", mean=1.0, std=0.5)))
    assert float(moved.mean()) == pytest.approx(1.0, abs=0.015)
    assert float(moved.std()) == pytest.approx(0.5, abs=0.01)


def test_mode_is_the_papers_formula() -> None:
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    by_hand = 1 - u - 1.29 * (torch.cos(math.pi / 2 * u) ** 2 - 1 + u)
    assert torch.allclose(quantile(Times("mode"), 1 - u), by_hand, atol=1e-12)
    assert torch.equal(quantile(Times("mode", mode_scale=0.0), u), u)


@pytest.mark.parametrize("name", ["uniform", "logit_normal", "mode"])
def test_shares_undo_quantiles(name: str) -> None:
    p = torch.linspace(0, 1, 201, dtype=torch.float64)
    times = Times(name, mean=0.3, std=1.4, mode_scale=1.5)
    assert torch.allclose(share_below(times, quantile(times, p)), p, atol=1e-9)
    assert bool((quantile(times, p).diff() > 0).all())


@pytest.mark.parametrize("name", ["uniform", "logit_normal", "mode"])
def test_a_range_keeps_the_shape_within(name: str) -> None:
    whole, part = flow(Times(name), RF3), flow(Times(name, minimum=0.5, maximum=0.8), RF3, step=1)
    inside = whole[(whole >= 0.5) & (whole < 0.8)]
    for share in (0.25, 0.5, 0.75):
        assert float(part.quantile(share)) == pytest.approx(float(inside.quantile(share)), abs=0.01)
    assert float(part.min()) >= 0.5 - 1e-7
    assert float(part.max()) <= 0.8 + 1e-7


def test_shift_is_undone() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.allclose(shifted(shifted(t, 3.0), 1 / 3.0), t)
    assert float(shifted(torch.tensor(0.5), 3.0)) == 0.75
    assert window(Times(minimum=0.75), 3.0) == pytest.approx((0.5, 1.0))


def test_timesteps_are_whole_and_even() -> None:
    found = draw(Times(), EPS, Draws(5, 0, MANY)).timestep
    assert torch.equal(found, found.round())
    assert found.dtype == torch.float32
    assert (int(found.min()), int(found.max())) == (0, 999)
    counts = torch.bincount(found.long() // 100, minlength=10)
    assert float((counts - COUNT / 10).abs().max()) < 5 * math.sqrt(COUNT / 10)
    for low, high in ((0.02, 0.5), (0.57, 0.58), (0.999, 1.0), (0.0, 0.001)):
        part = draw(Times(minimum=low, maximum=high), EPS, Draws(5, 0, MANY)).timestep
        assert (int(part.min()), int(part.max())) == (round(low * 1000), round(high * 1000) - 1)


@pytest.mark.parametrize("times", [Times(), NORMAL, Times("mode"), Times(minimum=0.3)])
def test_stratified_draws_lie_one_in_each_part(times: Times) -> None:
    even = Times(**{**times.__dict__, "stratified": True})
    low, high = window(even, 1.0)
    places = []
    for step in range(8):
        p = (share_below(even, flow(even, step=step, items=tuple(range(16)))) - low) / (high - low)
        parts = (p * 16).floor().clamp(0, 15)
        assert sorted(parts.tolist()) == list(range(16))
        places.append(tuple(parts.tolist()))
    assert len(set(places)) == 8, "another part each step"
    assert len({place[0] for place in places}) > 2


def test_stratified_over_micro_batches() -> None:
    even = Times(stratified=True)
    whole = draw(even, RF, Draws(5, 3, tuple(range(8)))).sigma
    parts = [draw(even, RF, Draws(5, 3, tuple(range(at, at + 2))), place=(at, 8)).sigma for at in range(0, 8, 2)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("sampling", [EPS, ZERO, RF3], ids=Sampling.describe)
def test_draws_depend_on_seed_step_and_item_alone(sampling: Sampling) -> None:
    state = torch.random.get_rng_state()
    settings = Noise(offset=0.1, perturbation=0.1, biased=True)

    def all_of(seed: int, step: int, items: tuple) -> dict:
        draws = Draws(seed, step, items)
        times, made = draw(NORMAL, sampling, draws), noises.draw(settings, draws, (2, 4, 4))
        return {item: (times.timestep[at], *(each[at] for each in made)) for at, item in enumerate(items)}

    first = all_of(1, 2, ("a", "b", "c"))
    second = all_of(1, 2, ("c", "a"))
    for item in ("a", "c"):
        assert all(torch.equal(x, y) for x, y in zip(first[item], second[item], strict=True))
    for other in (all_of(2, 2, ("a",)), all_of(1, 3, ("a",)), {"a": first["b"]}):
        assert not any(torch.equal(x, y) for x, y in zip(first["a"], other["a"], strict=True))
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator is untouched"


def test_an_item_that_comes_twice_needs_two_names() -> None:
    with pytest.raises(BadInput):
        Draws(0, 0, ("a", "b", "a"))
    with pytest.raises(BadInput):
        Draws(0, 0, (1, "1"))


def test_rows_are_the_streams_own_numbers() -> None:
    streams = [Stream(3, f"time/{index}", index) for index in range(5)]
    for count in (1, 7, 300, LANES, LANES + 9):
        words = [each.words(torch.empty(count, dtype=torch.int32)) for each in streams]
        assert torch.equal(word_rows(streams, count), torch.stack(words))
    assert torch.equal(uniform_rows(streams, 33), torch.stack([each.uniform(33) for each in streams]))
    assert torch.equal(normal_rows(streams, 33), torch.stack([each.normal(33) for each in streams]))
    assert word_rows([], 4).shape == (0, 4)


def noise_of(settings: Noise, items: tuple = tuple(range(400)), side: int = 16) -> noises.Drawn:
    return noises.draw(settings, Draws(1, 0, items), (4, side, side))


def test_plain_noise_is_white() -> None:
    plain = noise_of(Noise())
    assert plain.seen is plain.noise
    noise = plain.noise.double()
    assert noise.dtype == torch.float64
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.006)
    assert float(noise.var()) == pytest.approx(1.0, abs=0.01)
    assert float((noise**4).mean()) == pytest.approx(3.0, abs=0.06)
    assert float(noise.mean(dim=(2, 3)).std()) == pytest.approx(1 / 16, abs=0.004)
    for axes in ((0,), (1,), (2,), (3,)):
        assert abs(float((noise * noise.roll(1, axes)).mean())) < 0.006


def test_offset_moves_each_channel() -> None:
    moved = noise_of(Noise(offset=0.3)).noise - noise_of(Noise()).noise
    assert float(moved.std(dim=(2, 3)).max()) < 1e-6
    assert float(moved[:, :, 0, 0].std()) == pytest.approx(0.3, abs=0.02)
    assert abs(float((moved[:, 0, 0, 0] * moved[:, 1, 0, 0]).mean())) < 0.02


def test_perturbation_is_the_inputs_alone() -> None:
    both = noise_of(Noise(perturbation=0.1))
    assert torch.equal(both.noise, noise_of(Noise()).noise)
    extra = both.seen - both.noise
    assert float(extra.std()) == pytest.approx(0.1, abs=0.002)
    assert abs(float((extra * both.noise).mean())) < 0.002


def test_pyramid_noise_is_coarse_of_unit_deviation_and_per_item() -> None:
    settings = Noise(multires_iterations=6, multires_discount=0.7)
    found = noise_of(settings, tuple(range(60))).noise
    assert float(found.std(dim=(1, 2, 3)).sub(1.0).abs().max()) < 1e-5
    neighbours = float((found * found.roll(1, 3)).mean())
    assert neighbours > 0.15
    assert torch.equal(noise_of(settings, (7,)).noise[0], found[7])
    assert torch.isfinite(noises.draw(settings, Draws(1, 0, (0,)), (4, 9, 5)).noise).all()
