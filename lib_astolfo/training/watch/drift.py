"""The gap between the zero and the null uncond, over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.pictures import Pictures
from lib_astolfo.diffusion.probe_uncond import probe_uncond
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training.watch.settings import Drift
from lib_astolfo.training.watch.validation import Network


@torch.no_grad()
def measure(
    network: Network, pictures: Pictures, unconds: Mapping[str, Conditioning], sampling: Sampling, settings: Drift
) -> dict[str, Any]:
    """The row's own fields, by noise level: ``gap`` between the answers, ``ratio`` of zero's error over null's, with
    standard errors; ``low``, ``high``: the ratios at low noise and where text matters most, None if not measured;
    ``drifted``, ``trained`` and ``words`` as ``probe_uncond`` concludes."""

    def asked(x: torch.Tensor, timestep: torch.Tensor, cond: Conditioning) -> torch.Tensor:
        return network(x, timestep, cond)

    ends = Denoiser(asked, sampling)
    low, high = float(ends.sigma_min), float(ends.sigma_max)
    sigmas = tuple(sigma for sigma in settings.sigmas if low <= sigma <= high)
    found = probe_uncond(asked, pictures, unconds, sampling=sampling, sigmas=sigmas)
    return {
        "pictures": len(pictures),
        "sigmas": list(sigmas),
        "gap": [level.gap.mean for level in found.levels],
        "gap_error": [level.gap.error for level in found.levels],
        "ratio": [level.ratio.mean for level in found.levels],
        "ratio_error": [level.ratio.error for level in found.levels],
        "low": None if found.low is None else found.low.mean,
        "high": None if found.high is None else found.high.mean,
        "drifted": found.drifted,
        "trained": found.trained,
        "words": found.words(),
    }
