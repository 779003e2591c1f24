"""What is predicted, on which noise levels, with which weights, loss and noise.

Sources: kohya library/custom_train_functions.py and library/train_util.py:6025-6160; the fork's
library/train_util.py:5284-5365 and sdxl_train.py:132-173, 745-835.
"""

from __future__ import annotations

import math

from lib_astolfo.training.importing.draft import Draft

FLOW = "rectified flow has no such weights: the program takes it off with a warning"
_FLOW_ONLY = (
    "flow_use_ot",
    "flow_timestep_distribution",
    "flow_logit_mean",
    "flow_logit_std",
    "flow_uniform_shift",
    "flow_uniform_base_pixels",
    "flow_uniform_static_ratio",
)
_SNR_WEIGHTS = ("min_snr_gamma", "debiased_estimation_loss", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss")
_ORDER = (
    "kohya takes the SNR before it rescales the schedule for zero terminal SNR (sdxl_train.py:601-603), so its last "
    "timestep still counts 0.0047; here it is the SNR of the schedule that is trained"
)


def read(draft: Draft) -> None:
    """The part ``objective``."""
    if draft.on("flow_model"):
        _flow(draft)
        _flow_inert(draft)
    else:
        _prediction(draft)
        _range(draft)
        _weights(draft)
        for name in _FLOW_ONLY:
            draft.inert(name, "flow_model is off")
    _contrastive(draft)
    _loss(draft)
    _noise(draft)


def _prediction(draft: Draft) -> None:
    v = draft.on("v_parameterization")
    draft.carry("v_parameterization", "objective.sampling.prediction", "v" if v else "eps")
    if not draft.on("zero_terminal_snr"):
        return
    if v:
        draft.carry("zero_terminal_snr", "objective.sampling.zero_terminal_snr", True)
    else:
        why = (
            "with eps there is no target at pure noise; kohya warns and divides by nothing. v_parameterization has one"
        )
        draft.leave("zero_terminal_snr", why)


def _range(draft: Draft) -> None:
    low, high = draft.value("min_timestep") or 0, draft.given.get("max_timestep", 1000)
    if not 0 <= low < high <= 1000:
        for name in ("min_timestep", "max_timestep"):
            draft.leave(name, f"{low} to {high} is no range of the 1000 timesteps")
        return
    draft.carry("min_timestep", "objective.times.minimum", low / 1000)
    draft.carry("max_timestep", "objective.times.maximum", high / 1000)


def _weights(draft: Draft) -> None:
    v, ends = draft.on("v_parameterization"), bool(draft.get("objective.sampling.zero_terminal_snr"))
    gamma = draft.value("min_snr_gamma")
    if gamma:
        draft.set("objective.weights.kind", "min_snr")
        floor = f"{_ORDER}, with a floor that keeps it 1 there (weights.form auto)" if ends else ""
        draft.carry("min_snr_gamma", "objective.weights.gamma", gamma, floor)
    if draft.on("debiased_estimation_loss"):
        if gamma:
            draft.leave("debiased_estimation_loss", "kohya multiplies both weights; here one of them stands: min_snr")
        else:
            differs = _ORDER if ends else ""
            draft.carry("debiased_estimation_loss", "objective.weights.kind", "debiased", differs)
    if not v:
        draft.leave("scale_v_pred_loss_like_noise_pred", "kohya refuses it without v_parameterization")
        draft.leave("v_pred_like_loss", "there is no weight 1 + c (SNR+1)/SNR; min_snr or debiased are near to it")
    else:
        why = (
            "SNR/(SNR+1) takes the weight off exactly where zero terminal SNR needs it: black and white are not learnt"
        )
        draft.leave("scale_v_pred_loss_like_noise_pred", why)
        draft.leave("v_pred_like_loss", "kohya refuses it with v_parameterization")


def _loss(draft: Draft) -> None:
    kind = draft.value("loss_type")
    if kind not in ("l2", "l1", "huber", "smooth_l1"):
        draft.leave("loss_type", "not one of l2, l1, huber, smooth_l1")
        kind = "l2"
    else:
        draft.carry("loss_type", "objective.loss.kind", "mse" if kind == "l2" else kind)
    thresholded = kind in ("huber", "smooth_l1")
    for name in ("huber_schedule", "huber_c", "huber_scale"):
        if not thresholded:
            draft.inert(name, f"loss_type {kind} has no threshold")
        elif name == "huber_scale" and draft.value("huber_schedule") == "snr":
            draft.inert(name, "huber_schedule snr takes no scale")
        else:
            draft.carry(name, f"objective.loss.{name}", draft.value(name))


def _noise(draft: Draft) -> None:
    flow = draft.on("flow_model")
    ends = flow or bool(draft.get("objective.sampling.zero_terminal_snr"))
    meant = "the schedule ends in pure noise, which sampling draws white; noise.biased says that it is meant" * ends
    offset = draft.value("noise_offset")
    if offset:
        draft.carry("noise_offset", "objective.noise.offset", offset, meant)
    draft.leave("noise_offset_random_strength", "the strength is the same for all; on average kohya's is half of it")
    if not offset:
        draft.inert("noise_offset_random_strength", "noise_offset is 0")
    why = "the offset does not follow the latents' mean" if offset else "kohya refuses it without noise_offset"
    draft.leave("adaptive_noise_scale", why)
    rounds = draft.value("multires_noise_iterations")
    if rounds and offset:
        draft.leave(
            "multires_noise_iterations", "beside noise_offset: both raise the low frequencies, one of them stands"
        )
    elif rounds:
        how = "each picture's noise is brought to unit deviation by itself, kohya's by the whole batch's"
        draft.carry(
            "multires_noise_iterations", "objective.noise.multires_iterations", rounds, f"{how}; {meant}".strip("; ")
        )
        draft.carry(
            "multires_noise_discount", "objective.noise.multires_discount", draft.value("multires_noise_discount")
        )
    if not rounds or offset:
        draft.inert("multires_noise_discount", "there is no multires noise")
    if ends and (offset or rounds):
        draft.set("objective.noise.biased", True)
    _perturbation(draft, flow)


def _perturbation(draft: Draft, flow: bool) -> None:
    gamma = draft.value("ip_noise_gamma")
    if flow:
        draft.inert("ip_noise_gamma", "the program's rectified flow does not look at it")
    elif gamma:
        draft.carry("ip_noise_gamma", "objective.noise.perturbation", gamma)
    draft.leave("ip_noise_gamma_random_strength", "the strength is the same for all; on average kohya's is half of it")
    if flow or not gamma:
        draft.inert("ip_noise_gamma_random_strength", "ip_noise_gamma has no effect")


def _flow(draft: Draft) -> None:
    told = "the network is told 1000 t as in sampling, there floor(999 t), up to two steps beside its own noise"
    draft.carry("flow_model", "objective.sampling.prediction", "rf", told)
    kind = draft.value("flow_timestep_distribution")
    draft.carry("flow_timestep_distribution", "objective.times.distribution", kind)
    if kind == "logit_normal":
        draft.carry("flow_logit_mean", "objective.times.mean", draft.value("flow_logit_mean"))
        draft.carry("flow_logit_std", "objective.times.std", draft.value("flow_logit_std"))
        for name in _FLOW_ONLY[4:]:
            draft.inert(
                name, "it acts only with flow_timestep_distribution uniform; this run had logit_normal, shift 1"
            )
        return
    for name in ("flow_logit_mean", "flow_logit_std"):
        draft.inert(name, "flow_timestep_distribution is uniform")
    _shift(draft)


def _shift(draft: Draft) -> None:
    ratio = draft.value("flow_uniform_static_ratio")
    if ratio:
        draft.carry("flow_uniform_static_ratio", "objective.sampling.shift", ratio)
        for name in ("flow_uniform_shift", "flow_uniform_base_pixels"):
            draft.inert(name, "flow_uniform_static_ratio stands before it")
    elif draft.on("flow_uniform_shift"):
        width, height = draft.get("data.buckets.width", 1024), draft.get("data.buckets.height", 1024)
        shift = round(math.sqrt(width * height / draft.value("flow_uniform_base_pixels")), 4)
        how = (
            f"one shift, that of the full area {width} x {height}; there each picture's own area makes it, at most that"
        )
        draft.carry("flow_uniform_shift", "objective.sampling.shift", shift, how)
        draft.carry("flow_uniform_base_pixels", "objective.sampling.shift", shift)
    else:
        draft.inert("flow_uniform_base_pixels", "flow_uniform_shift is off")


def _flow_inert(draft: Draft) -> None:
    for name in _SNR_WEIGHTS:
        draft.inert(name, FLOW)
    for name in ("min_timestep", "max_timestep"):
        draft.inert(name, "rectified flow draws from 0 to 1 whatever it says")
    draft.inert("zero_terminal_snr", "rectified flow uses no such schedule; it ends in pure noise anyway")
    draft.leave("v_parameterization", "the program refuses it with flow_model; rf predicts a velocity already")
    if draft.get("batch", 1) > 1:
        draft.leave("flow_use_ot", "pictures and noise are not paired by optimal transport here")
    else:
        draft.inert("flow_use_ot", "it pairs within a batch, and the batch is 1")


def _contrastive(draft: Draft) -> None:
    on = draft.on("contrastive_flow_matching")
    if not (draft.on("flow_model") or draft.on("v_parameterization")):
        draft.leave("contrastive_flow_matching", "the program refuses it without flow_model or v_parameterization")
    elif draft.get("batch", 1) > 1:
        draft.leave("contrastive_flow_matching", "there is no contrastive term here (arXiv:2506.05350)")
    else:
        draft.inert("contrastive_flow_matching", "it compares within a batch, and the batch is 1: plain flow matching")
    if on and draft.get("batch", 1) > 1:
        draft.leave("cfm_lambda", "its term is not carried over")
    else:
        draft.inert("cfm_lambda", "contrastive_flow_matching has no effect")
