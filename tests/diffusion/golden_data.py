"""The golden figures: reference results made once by running the original programs (``golden/sampling.json``).

``GROUPS`` says which test file holds which entries, ``UNCOVERED`` which are held by none, and why.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "golden"

GROUPS: dict[str, tuple[str, ...]] = {
    "tables": ("betas", "alphas_cumprod*", "ztsnr_sigma_max", "sigmas_*", "rf_sigmas_table_*"),
    "levels": ("sigma_to_timestep_vp", "timestep_to_sigma_vp", "rf_sigma_timestep", "percent_to_sigma"),
    "schedules": (
        "schedule_a1111/*",
        "schedule_comfy/*",
        "schedule_reforge_webui/*/beta",
        "schedule_rf_a1111/*",
        "schedule_rf_comfy/*",
        "schedule_rf_diffusers/*",
        "schedule_diffusers/ztsnr_trailing",
        "schedule_ztsnr_waste",
        "img2img_start_sigma",
    ),
    "prediction": ("precond", "precond_scalings"),
    "guidance": ("cfg", "cfgpp_step", "reforge_cfg1_shortcut"),
    "uncond": ("uncond_average", "webui_zero_uncond_decision", "webui_pad_zero_uncond"),
    "trajectories": ("toy_definition", "traj/*", "traj_comfy/*"),
    "flow": (
        "rf_deterministic_sampler_convergence",
        "rf_stochastic_sampler_statistics",
        "rf_as_ve",
        "rf_dpmpp2m_schedule_sensitivity",
    ),
}

UNCOVERED: dict[str, str] = {
    "sgm_discrete_denoiser_unused_by_webui": "sgm's own denoiser, which no host runs",
    "schedule_reforge_webui/*/align_your_steps": "reForge's own list, stretched to the highest level; A1111's is held",
}

#: Parts of covered entries that no test holds.
UNCOVERED_PARTS: dict[str, str] = {
    "sigma_to_timestep_vp: sgm_linear": "sgm's denoiser is never run by a host",
    "percent_to_sigma: continuous_edm": "EDM networks are not sampled",
    "cfg: reforge_uncond_none": "an uncond is never removed",
    "webui_pad_zero_uncond: pad_*": "A1111's defect: zero filled up with the empty text",
    "rf_stochastic_sampler_statistics: * VE formula *": "what goes wrong in native coordinates with VE samplers",
}


@lru_cache(maxsize=1)
def entries() -> dict[str, dict[str, Any]]:
    """Every entry by name."""
    return dict(json.loads((FOLDER / "sampling.json").read_text("utf-8"))["entries"])


@lru_cache(maxsize=1)
def _tensors() -> dict[str, torch.Tensor]:
    return load_file(FOLDER / "sampling.safetensors")


def entry(name: str) -> dict[str, Any]:
    """One entry."""
    return entries()[name]


def tensors(name: str) -> dict[str, torch.Tensor]:
    """The tensors of an entry, by their short names."""
    return {short: _tensors()[full] for short, full in entry(name)["tensors"].items()}


def names(group: str, *patterns: str) -> list[str]:
    """The entries of a group, in order, or those that match ``patterns``."""
    wanted = patterns or GROUPS[group]
    return [name for name in entries() if matches(name, GROUPS[group]) and matches(name, wanted)]


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns fits."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
