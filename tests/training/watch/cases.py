"""Steps of an imagined run, drawn by number, so that a resumed one sees the same."""

from __future__ import annotations

import torch
from torch import Tensor

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training import times
from lib_astolfo.training.bins import oracle
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.optim.report import Report
from lib_astolfo.training.run.seen import StepSeen
from lib_astolfo.training.times import Times

SPECTRUM = torch.logspace(0.5, -1.5, 32, dtype=torch.float64)
V = Objective(Sampling("v", zero_terminal_snr=True))


def latents(count: int = 20, side: int = 8) -> list[Tensor]:
    """Noise with most of its power in coarse forms."""
    generator = torch.Generator().manual_seed(5)
    fine = torch.randn(count, 4, side, side, generator=generator)
    coarse = torch.randn(count, 4, side // 4, side // 4, generator=generator)
    return list(torch.nn.functional.interpolate(coarse, scale_factor=4) + 0.2 * fine)


def seen(
    step: int,
    factor: float = 1.0,
    *,
    batch: int = 4,
    objective: Objective = V,
    spread: float = 0.5,
    report: Report | None = None,
    taught: int = 0,
) -> StepSeen:
    """Losses of ``factor`` times the least possible, log-normal with deviation ``spread``."""
    names = tuple(f"item {index}" for index in range(batch))
    draws = Draws(3, step, names)
    moments = times.draw(Times(), objective.sampling, draws)
    best = oracle(SPECTRUM, moments, objective.sampling)
    raw = best * factor * torch.exp(spread * draws.normal("loss", (1,))[:, 0].double())
    marked = torch.arange(batch) < taught
    report = report or Report(step, norm=0.5 + 0.01 * step, moved=0.9)
    no = torch.zeros(batch, dtype=torch.bool)
    return StepSeen(step, step // 50, 0, names, moments, raw, raw, marked, no, report, {"unet": 1e-5}, seconds=0.1)
