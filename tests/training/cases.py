"""The objectives of the oracle tests, and the least loss of each on Gaussian pictures.

The figures are computed from the schedule's definition, without the library's tables.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.times import Times
from lib_astolfo.training.weights import Weights
from tests.training.gauss import spectrum, stratified

MODES = spectrum()
EPS, V, ZERO, RF = Sampling(), Sampling("v"), Sampling("v", True), Sampling("rf")


def squares(terminal: bool) -> Tensor:
    """ᾱ_t from the definition, in float64."""
    root = (1.0 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).double() ** 2).cumprod(0).sqrt()
    if terminal:
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root**2


def least(terminal: bool, weigh: Callable[[Tensor], Tensor], eps: bool = False) -> float:
    """The mean over timesteps and modes of weight s/(α²s+σ²), times α² for eps."""
    a2 = squares(terminal)[:, None]
    s = MODES[None, :]
    each = s / (a2 * s + 1.0 - a2) * (a2 if eps else 1.0)
    return float((each.mean(dim=1) * weigh((a2 / (1.0 - a2))[:, 0])).mean())


def least_flow(t: Tensor) -> float:
    """The mean over ``t`` and modes of s/((1-t)²s+t²)."""
    t = t[:, None]
    return float((MODES / ((1.0 - t) ** 2 * MODES + t**2)).mean())


GRID = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
NORMAL = torch.sigmoid(torch.special.ndtri(GRID))
ONE = torch.ones_like
CASES: dict[str, tuple[Objective, float]] = {
    "eps": (stratified(EPS), least(False, ONE, eps=True)),
    "eps min-SNR": (
        stratified(EPS, weights=Weights("min_snr")),
        least(False, lambda snr: snr.clamp(max=5.0) / snr, eps=True),
    ),
    "eps debiased": (
        stratified(EPS, weights=Weights("debiased")),
        least(False, lambda snr: snr.clamp(max=1000.0) ** -0.5, eps=True),
    ),
    "v": (stratified(V), least(False, ONE)),
    "v ZTSNR": (stratified(ZERO), least(True, ONE)),
    "v ZTSNR min-SNR": (
        stratified(ZERO, weights=Weights("min_snr", form="paper", paper_with_ztsnr=True)),
        least(True, lambda snr: snr.clamp(max=5.0) / (snr + 1.0)),
    ),
    "v ZTSNR min-SNR floor": (
        stratified(ZERO, weights=Weights("min_snr")),
        least(True, lambda snr: snr.clamp(1.0, 5.0) / (snr + 1.0)),
    ),
    "rf logit-normal": (stratified(RF, "logit_normal"), least_flow(NORMAL)),
    "rf uniform": (stratified(RF), least_flow(GRID)),
    "rf shift 3": (stratified(Sampling("rf", shift=3.0)), least_flow(3.0 * GRID / (1.0 + 2.0 * GRID))),
    "rf without stratification": (Objective(RF, Times("logit_normal")), least_flow(NORMAL)),
}


def gains(sampling: Sampling, timestep: Tensor) -> Tensor:
    """Cov(F, z) / Var(z) [T, modes] at whole timesteps [T]; rf at t = timestep / 1000."""
    if sampling.prediction == "rf":
        t = (timestep / 1000.0).double()[:, None]
        return (t - (1.0 - t) * MODES) / ((1.0 - t) ** 2 * MODES + t**2)
    a2 = squares(sampling.zero_terminal_snr)[timestep][:, None]
    a, s = a2.sqrt(), (1.0 - a2).sqrt()
    covariance = s if sampling.prediction == "eps" else a * s * (1.0 - MODES)
    return covariance / (a2 * MODES + 1.0 - a2)
