"""Weights of the loss over noise levels, for eps, v and x0.

The signal-to-noise ratio is that of the schedule the network is trained on. (kohya's sd-scripts computes it before it
rescales for zero terminal SNR, so its weights never see the zero.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.sampling import Sampling
from ..errors import BadInput
from . import checks
from .times import Moments

WEIGHTS = ("none", "min_snr", "debiased")
FORMS = ("auto", "paper", "floor", "diffusers")
DEBIASED_MAX = 1000.0  # sd-scripts library/custom_train_functions.py, apply_debiased_estimation


@dataclass(frozen=True)
class Weights:
    """``kind``: none, ``min_snr`` (Hang et al. 2023, arXiv:2303.09556) or ``debiased`` (Yu et al. 2023,
    arXiv:2310.08442, as sd-scripts has it).

    ``gamma``: of min-SNR. ``form``: which min-SNR for v: ``paper`` min(SNR,γ)/(SNR+1), which is 0 at the last timestep
    of zero terminal SNR and so leaves untrained what that is for; ``floor`` max(min(SNR,γ),1)/(SNR+1), which is 1
    there; ``diffusers`` min(SNR+1,γ)/(SNR+1), 1 there too; ``auto``: floor with zero terminal SNR, else paper.
    For eps min(SNR,γ)/SNR, for x0 min(SNR,γ).
    ``paper_with_ztsnr``: the paper's form with zero terminal SNR is meant.
    """

    kind: str = "none"
    gamma: float = 5.0
    form: str = "auto"
    paper_with_ztsnr: bool = False

    def __post_init__(self) -> None:
        checks.choice(self, "kind", "weights", WEIGHTS)
        checks.number(self, "gamma", "weights", (0.01, 1e6))
        checks.choice(self, "form", "weights", FORMS)
        checks.flag(self, "paper_with_ztsnr", "weights")


def check(weights: Weights, sampling: Sampling) -> None:
    """BadInput for weights that this prediction has not."""
    if weights.kind == "none":
        return
    prediction = sampling.prediction
    if prediction not in ("eps", "v", "x0"):
        raise BadInput("weights.kind", weights.kind, f"none with {prediction}: SNR weights are for eps, v and x0")
    if weights.kind == "debiased":
        if prediction == "x0":
            raise BadInput("weights.kind", "debiased", "none or min_snr with x0: debiased is for eps and v")
        return
    allowed = {"eps": ("auto", "paper"), "x0": ("auto", "paper", "floor"), "v": FORMS}[prediction]
    if weights.form not in allowed:
        raise BadInput("weights.form", weights.form, f"one of {', '.join(allowed)} with {prediction}")
    if weights.form == "paper" and sampling.zero_terminal_snr and not weights.paper_with_ztsnr:
        expected = "auto, floor or diffusers with zero terminal SNR: the paper's form gives its last timestep weight 0"
        raise BadInput("weights.form", "paper", expected + " (or paper_with_ztsnr: true)")


def weight(moments: Moments, weights: Weights, sampling: Sampling) -> Tensor:
    """The factor of each item's loss, float64 [B], always finite. Raises BadInput as ``check``."""
    check(weights, sampling)
    snr = moments.snr
    if weights.kind == "none":
        return torch.ones_like(snr)
    if weights.kind == "debiased":
        capped = snr.clamp(max=DEBIASED_MAX)
        return 1.0 / (capped + 1.0) if sampling.prediction == "v" else capped.rsqrt()
    return _min_snr(snr, weights, sampling)


def _min_snr(snr: Tensor, weights: Weights, sampling: Sampling) -> Tensor:
    form = weights.form
    if form == "auto":
        form = "floor" if sampling.zero_terminal_snr else "paper"
    capped = (snr + 1.0 if form == "diffusers" else snr).clamp(max=weights.gamma)
    if form == "floor":
        capped = capped.clamp(min=1.0)
    return capped / {"eps": snr, "v": snr + 1.0, "x0": torch.ones_like(snr)}[sampling.prediction]
