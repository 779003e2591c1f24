"""What is said about options that do nothing, or that hurt."""

from __future__ import annotations

import pytest

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training.advice import doubtful, inert
from lib_astolfo.training.distill import Distillation
from lib_astolfo.training.losses import Loss
from lib_astolfo.training.noise import Noise
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.times import Times
from lib_astolfo.training.weights import Weights

EPS, V, ZERO, RF, RF3 = Sampling(), Sampling("v"), Sampling("v", True), Sampling("rf"), Sampling("rf", shift=3.0)
HIGH = Times(minimum=0.95)

NOTHING = [
    ({"times": Times(mean=1.0)}, ["times.mean"]),
    ({"times": Times("mode", mean=1.0, std=2.0)}, ["times.mean", "times.std"]),
    ({"times": Times("logit_normal", mode_scale=1.0)}, ["times.mode_scale"]),
    ({"times": Times("mode", mode_scale=0.0)}, ["times.distribution"]),
    ({"weights": Weights(gamma=3.0)}, ["weights.gamma"]),
    ({"weights": Weights("debiased", form="floor")}, ["weights.form"]),
    ({"weights": Weights("min_snr", gamma=2000.0)}, ["weights.kind"]),
    ({"sampling": V, "weights": Weights("min_snr", paper_with_ztsnr=True)}, ["weights.paper_with_ztsnr"]),
    ({"sampling": V, "weights": Weights("min_snr", gamma=0.5, form="floor")}, ["weights.gamma"]),
    ({"loss": Loss(huber_c=0.2, huber_schedule="constant")}, ["loss.huber_c", "loss.huber_schedule"]),
    ({"loss": Loss("huber", huber_scale=2.0)}, ["loss.huber_scale"]),
    ({"noise": Noise(multires_discount=0.5)}, ["noise.multires_discount"]),
    ({"noise": Noise(multires_iterations=1)}, ["noise.multires_iterations"]),
    ({"noise": Noise(multires_iterations=4, multires_discount=0.0)}, ["noise.multires_iterations"]),
    ({"noise": Noise(offset=0.1, biased=True)}, ["noise.biased"]),
    ({"sampling": V, "distill": Distillation(share=0.0)}, ["distill.teacher"]),
    ({"distill": Distillation(EPS)}, ["distill.teacher"]),
    ({"sampling": RF, "times": HIGH, "distill": Distillation(EPS)}, ["distill.teacher"]),
    ({"sampling": ZERO, "times": HIGH, "distill": Distillation(EPS)}, ["distill.teacher"]),
    ({"sampling": ZERO, "times": Times(minimum=0.8), "distill": Distillation(EPS)}, []),
    ({"sampling": RF, "times": HIGH, "distill": Distillation(EPS, beyond="teacher")}, []),
    ({"sampling": RF, "distill": Distillation(ZERO, beyond="teacher")}, ["distill.beyond"]),
    ({"sampling": RF, "times": HIGH, "distill": Distillation(ZERO)}, []),
]
USED = [
    {},
    {"times": Times("logit_normal", mean=1.0, std=2.0, stratified=True), "sampling": RF3},
    {"weights": Weights("min_snr", gamma=3.0)},
    {"sampling": ZERO, "weights": Weights("min_snr", form="paper", paper_with_ztsnr=True)},
    {"loss": Loss("smooth_l1", huber_c=0.2, huber_schedule="constant", huber_scale=2.0)},
    {"noise": Noise(multires_iterations=6, multires_discount=0.2)},
    {"sampling": RF, "noise": Noise(offset=0.1, biased=True), "distill": Distillation(share=0.5)},
]
DOUBTFUL = [
    ({"sampling": RF, "noise": Noise(offset=0.1, biased=True)}, ["noise"]),
    ({"sampling": ZERO, "noise": Noise(perturbation=0.1)}, ["noise.perturbation"]),
    ({"sampling": ZERO, "weights": Weights("min_snr", form="paper", paper_with_ztsnr=True)}, ["weights.form"]),
    ({"sampling": RF, "times": Times("logit_normal")}, ["times.distribution"]),
    ({"sampling": RF3, "times": Times("logit_normal")}, []),
    ({"sampling": RF, "times": Times(maximum=0.9)}, ["times.maximum"]),
    ({"noise": Noise(perturbation=0.1, offset=0.1)}, []),
]


@pytest.mark.parametrize(("parts", "keys"), NOTHING)
def test_what_does_nothing_is_said(parts: dict, keys: list[str]) -> None:
    said = inert(Objective(**parts))
    assert [sentence.split(" ")[0] for sentence in said] == keys
    assert all(" does nothing: " in sentence and sentence.endswith(".") for sentence in said)


@pytest.mark.parametrize("parts", USED)
def test_what_does_something_is_not(parts: dict) -> None:
    assert inert(Objective(**parts)) == []


@pytest.mark.parametrize(("parts", "keys"), DOUBTFUL)
def test_what_hurts_is_said(parts: dict, keys: list[str]) -> None:
    assert [sentence.split(":")[0] for sentence in doubtful(Objective(**parts))] == keys
