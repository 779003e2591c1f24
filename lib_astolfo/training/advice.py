"""What a person should hear about an objective before it starts: options that do nothing, and doubtful ones."""

from __future__ import annotations

import torch

from . import checks
from .distill import reach
from .noise import ends_in_noise
from .objective import Objective
from .times import at, training_alphas


def inert(objective: Objective) -> list[str]:
    """One sentence for each option that is set and changes nothing in this combination."""
    return [*_times(objective), *_weights(objective), *_loss(objective), *_noise(objective), *_distill(objective)]


def doubtful(objective: Objective) -> list[str]:
    """One sentence for each option that works but is known to hurt in this combination."""
    said = []
    ends, noise, words = ends_in_noise(objective.sampling), objective.noise, objective.sampling.describe()
    if ends and (noise.offset or noise.multires_iterations):
        said.append(f"noise: {words} ends in pure noise; sampling starts from white noise, which was not trained.")
    if ends and noise.perturbation:
        said.append(f"noise.perturbation: {words} ends in pure noise; trained on more than unit deviation there.")
    weights = objective.weights
    if weights.kind == "min_snr" and weights.form == "paper" and objective.sampling.zero_terminal_snr:
        said.append("weights.form: the paper's min-SNR gives the last timestep of zero terminal SNR weight 0.")
    times = objective.times
    plain = times.distribution == "logit_normal" and objective.sampling.shift == 1.0 and times.mean <= 0.0
    if objective.sampling.prediction == "rf" and plain:
        said.append("times.distribution: logit_normal without shift hardly trains the highest noise (brightness).")
    if ends and times.maximum < 1.0:
        said.append(f"times.maximum: sampling with {words} begins at pure noise, which is left out.")
    return said


def _nothing(where: str, names: list[str], why: str) -> list[str]:
    return [f"{where}.{name} does nothing: {why}." for name in names]


def _times(objective: Objective) -> list[str]:
    times, said = objective.times, []
    if times.distribution != "logit_normal":
        names = checks.unused(times, ["mean", "std"])
        said += _nothing("times", names, f"the distribution is {times.distribution}, not logit_normal")
    if times.distribution != "mode":
        names = checks.unused(times, ["mode_scale"])
        said += _nothing("times", names, f"the distribution is {times.distribution}, not mode")
    elif times.mode_scale == 0.0:
        said += _nothing("times", ["distribution"], "mode with mode_scale 0 is uniform")
    return said


def _weights(objective: Objective) -> list[str]:
    weights = objective.weights
    if weights.kind != "min_snr":
        names = checks.unused(weights, ["gamma", "form", "paper_with_ztsnr"])
        return _nothing("weights", names, f"the weights are {weights.kind}, not min_snr")
    said = []
    if weights.paper_with_ztsnr and not (weights.form == "paper" and objective.sampling.zero_terminal_snr):
        said += _nothing("weights", ["paper_with_ztsnr"], "it is for form paper with zero terminal SNR")
    first = float(training_alphas(objective.sampling.zero_terminal_snr)[0])
    if objective.sampling.prediction == "eps" and weights.gamma >= first / (1.0 - first):
        said += _nothing("weights", ["kind"], f"gamma {weights.gamma:g} is above every SNR, so all weights are 1")
    if weights.form == "floor" and weights.gamma <= 1.0:
        said += _nothing("weights", ["gamma"], "with form floor 1 is the least")
    return said


def _loss(objective: Objective) -> list[str]:
    loss = objective.loss
    if not loss.thresholded:
        names = checks.unused(loss, ["huber_c", "huber_schedule", "huber_scale"])
        return _nothing("loss", names, f"{loss.kind} has no threshold")
    if loss.huber_schedule == "snr":
        return _nothing("loss", checks.unused(loss, ["huber_scale"]), "the schedule snr takes no scale")
    return []


def _noise(objective: Objective) -> list[str]:
    noise, said = objective.noise, []
    if not noise.multires_iterations:
        said += _nothing("noise", checks.unused(noise, ["multires_discount"]), "multires_iterations is 0")
    elif noise.multires_iterations == 1 or noise.multires_discount == 0.0:
        why = "one iteration adds noise of the full grid alone" if noise.multires_discount else "the discount is 0"
        said += _nothing("noise", ["multires_iterations"], why)
    if noise.biased and not (ends_in_noise(objective.sampling) and (noise.offset or noise.multires_iterations)):
        said += _nothing("noise", ["biased"], "there is no offset or multires noise that would be refused")
    return said


def _distill(objective: Objective) -> list[str]:
    settings, times = objective.distill, objective.times
    if settings is None:
        return []
    if settings.share == 0.0:
        return _nothing("distill", ["teacher"], "the share of its targets is 0")
    if settings.teacher is None:
        return []  # the model is not known here
    if settings.teacher == objective.sampling:
        why = (
            f"it predicts {settings.teacher.describe()} too, so a student that starts as its copy has nothing to learn"
        )
        return _nothing("distill", ["teacher"], why)
    low, high = reach(settings)
    if settings.beyond == "teacher" and high == float("inf"):
        return _nothing("distill", ["beyond"], f"the teacher, {settings.teacher.describe()}, ends in pure noise itself")
    first, last = _ratios(objective)
    if (first > high and settings.beyond != "teacher") or last < low:
        why = f"its schedule spans sigma/alpha {low:.3g} to {high:.4g}"
        return _nothing("distill", ["teacher"], f"{why}, times {times.minimum:g} to {times.maximum:g} lie outside")
    return []


def _ratios(objective: Objective) -> tuple[float, float]:
    """σ/α at both ends of the range of times."""
    ends = torch.tensor([objective.times.minimum, objective.times.maximum], dtype=torch.float64)
    low, high = at(ends, objective.sampling).ratio.tolist()
    return low, high
