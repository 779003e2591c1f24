"""Distillation: from the best eps network of Gaussian pictures come the best v, x0 and rf networks, exactly."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training.distill import Distillation, ask, blend, chosen, reach, target, teachable, teacher_moments
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.objective import make
from lib_astolfo.training.times import Moments, Times, at, at_timestep, draw

EPS, V, ZERO, X0 = Sampling(), Sampling("v"), Sampling("v", True), Sampling("x0")
RF, RF3 = Sampling("rf"), Sampling("rf", shift=3.0)
ALL = [EPS, V, ZERO, X0, RF, RF3]
VARIANCES = torch.tensor([4.0, 1.0, 0.2, 0.01]).double()
ITEMS = tuple(range(300))


def best(z: Tensor, moments: Moments, sampling: Sampling) -> Tensor:
    """E[F | z] by hand, for pictures of ``VARIANCES`` by channel."""
    a, s = moments.rows(z)
    v = VARIANCES[:, None, None]
    gain = {
        "eps": s,
        "v": a * s * (1.0 - v),
        "x0": a * v,
        "rf": s - a * v,
    }[sampling.prediction] / (a * a * v + s * s)
    return gain * z


def pictures() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    x0, noise = torch.randn(2, len(ITEMS), 4, 3, 3, generator=generator, dtype=torch.float64)
    return x0 * VARIANCES.sqrt()[:, None, None], noise


@pytest.mark.parametrize(("teacher", "student"), itertools.product(ALL, ALL), ids=Sampling.describe)
def test_the_best_teacher_gives_the_best_student(teacher: Sampling, student: Sampling) -> None:
    settings = Distillation(teacher)
    x0, noise = pictures()
    moments = draw(Times(), student, Draws(2, 0, ITEMS))
    question = ask(x0, noise, moments, settings)
    made = make(x0, noise, moments, student)
    found = target(best(question.input, question.moments, teacher), question, moments, settings, student)
    expected = best(made.input, moments, student)
    valid = question.valid
    assert float(valid.double().mean()) > 0.6
    assert torch.allclose(found[valid], expected[valid], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("student", [V, RF, RF3], ids=Sampling.describe)
def test_in_float32(student: Sampling) -> None:
    settings = Distillation(EPS)
    x0, noise = (each.float() for each in pictures())
    moments = draw(Times(), student, Draws(2, 0, ITEMS))
    question = ask(x0, noise, moments, settings)
    found = target(best(question.input, question.moments, EPS).float(), question, moments, settings, student)
    expected = best(make(x0, noise, moments, student).input, moments, student).float()
    assert found.dtype == question.input.dtype == torch.float32
    assert torch.allclose(found[question.valid], expected[question.valid], atol=2e-4)


@pytest.mark.parametrize("student", [V, RF3], ids=Sampling.describe)
def test_the_teacher_is_told_what_sampling_tells_it(student: Sampling) -> None:
    """Through the denoiser: the same network, asked by a sampler at this σ, sees the same input and timestep."""
    settings = Distillation(EPS)
    x0, noise = pictures()
    moments = draw(Times(), student, Draws(2, 0, ITEMS))
    question = ask(x0, noise, moments, settings)
    asked: list[Tensor] = []

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        asked.extend((x, timestep))
        return x

    sigma = moments.ratio
    keep = question.valid
    Denoiser(network, EPS)((x0 + sigma.view(-1, 1, 1, 1) * noise)[keep], sigma[keep])
    assert torch.allclose(asked[0], question.input[keep], atol=1e-9)
    assert torch.allclose(asked[1], question.timestep[keep], atol=1e-3)


def test_timesteps_of_one_schedule_are_kept() -> None:
    moments = at_timestep(torch.arange(1000), V)
    own, valid = teacher_moments(moments, Distillation(EPS))
    assert bool(valid.all())
    assert torch.allclose(own.timestep, moments.timestep, atol=2e-3)
    whole, _ = teacher_moments(moments, Distillation(EPS, like="comfy"))
    assert torch.equal(whole.timestep, moments.timestep)


def test_limits_are_where_the_teachers_schedule_ends() -> None:
    assert reach(Distillation(EPS)) == pytest.approx((0.02917, 14.6146), rel=1e-3)
    t = torch.tensor([0.0, 0.02, 0.03, 0.5, 0.935, 0.937, 1.0])
    told, valid = teacher_moments(at(t, RF), Distillation(EPS))
    assert valid.tolist() == [False, False, True, True, True, False, False]
    assert told.timestep[-1] == 999
    assert torch.isfinite(told.timestep).all()
    assert torch.allclose(told.alpha**2 + told.sigma**2, torch.ones(7).double())
    terminal = at_timestep(torch.tensor([0, 500, 999]), ZERO)
    assert teacher_moments(terminal, Distillation(EPS))[1].tolist() == [True, True, False]
    for teacher in (ZERO, RF):
        told, valid = teacher_moments(terminal, Distillation(teacher))
        assert bool(valid.all())
        assert float(told.timestep[-1]) == (999.0 if teacher is ZERO else 1000.0)
        assert (float(told.alpha[-1]), float(told.sigma[-1])) == (0.0, 1.0)


def test_shares_per_item() -> None:
    items = tuple(range(8000))
    valid = torch.arange(8000) % 2 == 0
    who = chosen(Distillation(EPS, share=0.2), valid, Draws(1, 5, items))
    assert not bool((who & ~valid).any())
    assert float(who[valid].double().mean()) == pytest.approx(0.2, abs=0.02)
    assert bool(chosen(Distillation(EPS, share=0.2), valid[7:8] | True, Draws(1, 5, (items[7],)))[0]) == bool(
        chosen(Distillation(EPS, share=0.2), valid | True, Draws(1, 5, items))[7]
    )
    assert torch.equal(chosen(Distillation(EPS), valid, Draws(1, 5, items)), valid)
    assert not bool(chosen(Distillation(EPS, share=0.0), valid, Draws(1, 5, items)).any())
    again = chosen(Distillation(EPS, share=0.2), valid, Draws(1, 6, items))
    assert not torch.equal(who, again)


def test_real_targets_stand_where_the_teacher_is_not_asked() -> None:
    x0, noise = pictures()
    real, other = x0[:3], noise[:3]
    mixed = blend(real, other, torch.tensor([True, False, True]))
    assert torch.equal(mixed, torch.stack([other[0], real[1], other[2]]))
    broken = torch.full_like(other, float("nan"))
    assert torch.equal(blend(real, broken, torch.zeros(3, dtype=torch.bool)), real), "what is not taken cannot spoil"


@pytest.mark.parametrize(("student", "t"), [(ZERO, 0.95), (ZERO, 0.9995), (RF, 0.97), (RF, 1.0)], ids=str)
def test_beyond_its_last_level_the_teacher_is_right_on_average(student: Sampling, t: float) -> None:
    """The regression of its answers on what the student sees is the best student's answer, and they vary less about
    it than real targets: with pictures of unit variance by about the share that the last level hides."""
    count, settings = 50_000, Distillation(EPS, beyond="teacher")
    x0, noise, fresh = torch.randn(3, count, 1, 1, 1, generator=torch.Generator().manual_seed(5)).double()
    moments = at(torch.full((count,), t), student)
    assert not bool(teacher_moments(moments, settings)[1].any()) and bool(teachable(moments, settings)[0].all())
    question = ask(x0, noise, moments, settings, fresh=fresh)
    assert float(question.timestep[0]) == 999.0 and bool(question.beyond.all())
    alpha, sigma = question.moments.alpha, question.moments.sigma  # of unit variance: the best eps answer is sigma z
    answer = sigma.view(-1, 1, 1, 1) * question.input
    found = target(answer, question, moments, settings, student)
    made = make(x0, noise, moments, student)
    gain = float((made.target * made.input).mean() / made.input.square().mean())
    assert float((found * made.input).mean() / made.input.square().mean()) == pytest.approx(gain, abs=0.01)
    spread = [float((one - gain * made.input).square().mean()) for one in (found, made.target)]
    assert spread[0] < 0.01 * spread[1] and float(alpha[0]) > 0.06
    assert not bool(ask(x0, noise, moments, settings).valid.any()), "without fresh noise it is not asked"
    assert not bool(teachable(moments, Distillation(EPS))[0].any())
