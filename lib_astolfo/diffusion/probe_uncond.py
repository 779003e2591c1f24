"""Which uncond a network was trained with, and whether the zero branch has drifted, over the noise levels.

The same noisy pictures are denoised under zero, under null (the encoded empty text) and under comma. How far apart
two unconds are (the gap) does not say which is right; which of them denoises better does. Where text matters most, at
σ about 3, the one that stood for dropped captions in training wins. At σ 0.1 to 0.3 both are equal in a network that
was trained with dropout; finetuning without dropout leaves zero behind there, while the captions carry null along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput
from .conditioning import Conditioning
from .denoiser import Denoiser, Network
from .pictures import Estimate, Pictures, Tick, norms
from .sampling import Sampling

UNCONDS = ("zero", "null", "comma")
SIGMAS = (0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 14.6)
HIGH = (2.0, 5.0)  # noise levels at which the ratio says what stood for dropped captions
LOW = (0.1, 0.3)  # … and at which it says whether zero was left behind
BETWEEN = 1.0  # the level from which on null is advised where only the low ones have drifted
CLEAR = 2.5  # standard errors from 1 that make a ratio count
DRIFT = 1.05  # ratio at the low levels from which zero has drifted


@dataclass(frozen=True)
class Level:
    """One noise level: ``gap`` = ‖D_zero - D_null‖ / ‖D_null‖, ``ratio`` = ‖D_zero - x0‖² / ‖D_null - x0‖²; the same
    of comma against null. Gaps are means over pictures, ratios geometric ones."""

    sigma: float
    gap: Estimate
    ratio: Estimate
    comma_gap: Estimate
    comma_ratio: Estimate


@dataclass(frozen=True)
class UncondGap:
    """All levels and what follows.

    ``trained``: zero, null or unclear: which uncond denoises better at ``HIGH``. ``drifted``: zero is clearly worse
    at ``LOW``. ``high`` and ``low``: the ratios there, None where no such level was measured. ``advice`` in words.
    """

    sampling: Sampling
    levels: tuple[Level, ...]
    high: Estimate | None
    low: Estimate | None
    trained: str
    drifted: bool
    advice: str

    def words(self) -> str:
        """The finding in one sentence."""
        if self.high is None:
            return f"No noise level from {HIGH[0]:g} to {HIGH[1]:g} was measured: nothing can be said."
        against = f"error of zero over that of null {self.high} at sigma {HIGH[0]:g} to {HIGH[1]:g}"
        low = "" if self.low is None else f", {self.low} at {LOW[0]:g} to {LOW[1]:g}"
        better = (
            f"{self.trained.capitalize()} denoises better, as after training with {self.trained} for dropped captions"
        )
        said = "Neither zero nor null denoises clearly better" if self.trained == "unclear" else better
        return f"{said}: {against}{low}{'; the zero branch has drifted' if self.drifted else ''}."


def probe_uncond(
    network: Network,
    pictures: Pictures,
    unconds: Mapping[str, Conditioning],
    *,
    sampling: Sampling,
    sigmas: Sequence[float] = SIGMAS,
    tick: Tick | None = None,
) -> UncondGap:
    """Three calls of ``network(x_in, timestep, cond=...)`` per batch and noise level; CFG has no part in it.

    ``unconds``: one row each for ``UNCONDS``. ``sampling``: how to read the network; a wrong one makes the errors
    those of the reading. Raises BadInput for levels outside the schedule and Failed for a network that answers NaN.
    """
    denoiser = Denoiser(network, sampling)
    low, high = float(denoiser.sigma_min), float(denoiser.sigma_max)
    if not sigmas or min(sigmas) < low or max(sigmas) > high * 1.001:
        raise BadInput(
            "sigmas", list(sigmas), f"noise levels from {low:.3g} to {high:.4g}, where {sampling.describe()} is"
        )
    shape = (len(sigmas), len(pictures))
    errors = {name: torch.zeros(shape, dtype=torch.float64) for name in UNCONDS}
    gaps = {name: torch.zeros(shape, dtype=torch.float64) for name in UNCONDS}
    for noised in pictures.noised(sigmas, tick):
        count = len(noised.rows)
        answers = {name: denoiser(noised.x, noised.sigma, cond=unconds[name].expand(count)) for name in UNCONDS}
        at = (noised.index, slice(noised.rows.start, noised.rows.stop))
        for name, answer in answers.items():
            errors[name][at] = noised.log_error(answer)
            gaps[name][at] = norms(answer - answers["null"]) / norms(answers["null"]).clamp(min=1e-12)
    return _concluded(denoiser, tuple(sigmas), errors, gaps)


def _concluded(
    denoiser: Denoiser, sigmas: tuple[float, ...], errors: Mapping[str, Tensor], gaps: Mapping[str, Tensor]
) -> UncondGap:
    """From log errors and gaps, [S levels, N pictures] each."""
    logs = {name: 2.0 * (errors[name] - errors["null"]) for name in UNCONDS}
    levels = tuple(
        Level(
            sigma,
            Estimate.of(gaps["zero"][index]),
            _ratio(logs["zero"][index]),
            Estimate.of(gaps["comma"][index]),
            _ratio(logs["comma"][index]),
        )
        for index, sigma in enumerate(sigmas)
    )
    high, low = (_band(sigmas, logs["zero"], ends) for ends in (HIGH, LOW))
    trained = "unclear"
    if high is not None and _clear(high):
        trained = "zero" if high.mean < 1.0 else "null"
    drifted = low is not None and low.mean >= DRIFT and _clear(low)
    largest = max(level.gap.mean for level in levels)
    advice = _advice(trained, drifted, largest, percent_of(denoiser, BETWEEN))
    return UncondGap(denoiser.sampling, levels, high, low, trained, drifted, advice)


def _ratio(logs: Tensor) -> Estimate:
    """The geometric mean of ratios from their logarithms, one a picture."""
    found = Estimate.of(logs)
    return Estimate(math.exp(found.mean), math.exp(found.mean) * found.error)


def _band(sigmas: tuple[float, ...], logs: Tensor, ends: tuple[float, float]) -> Estimate | None:
    rows = [index for index, sigma in enumerate(sigmas) if ends[0] <= sigma <= ends[1]]
    return _ratio(logs[rows].mean(0)) if rows else None


def _clear(ratio: Estimate) -> bool:
    """Whether a ratio is away from 1; False while the error is unknown."""
    return abs(math.log(ratio.mean)) > CLEAR * ratio.error / ratio.mean


def percent_of(denoiser: Denoiser, sigma: float) -> float:
    """The share of the schedule at which this noise level is reached, 0 to 1: ``percent_to_sigma`` the other way."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2.0
        low, high = (middle, high) if denoiser.percent_to_sigma(middle) > sigma else (low, middle)
    return low


def _advice(trained: str, drifted: bool, largest: float, share: float) -> str:
    late = f"from {100 * share:.0f} % of the schedule on (sigma {BETWEEN:g} and below)"
    if trained == "zero" and drifted:
        return (
            "Zero while the noise is high, null where fine detail is drawn, because zero was left behind there by "
            f"finetuning without dropped captions: in A1111 and reForge, whose own uncond is zero for an empty "
            f"negative prompt, Uncond null {late}. Or merge some of the base back in, which repairs a part of it."
        )
    if trained == "zero":
        return (
            "Use zero. A1111 and reForge do so for SDXL with an empty negative prompt; elsewhere choose Uncond zero "
            "(in ComfyUI the node ConditioningZeroOut)."
        )
    if trained == "null":
        worse = " Zero has drifted at low noise besides." if drifted else ""
        return (
            "Use null. ComfyUI does so with an empty negative prompt; in A1111 and reForge choose Uncond null, or "
            f"write a comma, which is nearly the same.{worse}"
        )
    if drifted:
        return f"Use null, at least {late}: zero is worse there, and no better above."
    if largest < 0.02:
        return "Both are nearly the same thing for this network; it does not matter."
    return "Either may be used: compare pictures under both at the CFG scale you draw with."
