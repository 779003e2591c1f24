"""What the prediction, guidance and uncond code costs per sampling step, against a loop that has none of it."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.guidance import Guidance, GuidedDenoiser
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond, plan
from tests.benchmarks.operations import Operations

STEPS = 20


class Network:
    """Stands for a UNet: a fixed amount of matrix work, so that the cost around it can be seen in proportion."""

    def __init__(self, work: int) -> None:
        self.matrix = torch.randn(work, work) if work else None

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning | None = None) -> Tensor:
        if self.matrix is not None:
            self.matrix @ self.matrix
        return x * 0.1


def bare(network: Network, x: Tensor, sigmas: Tensor, *, scale: float) -> Tensor:
    """Euler on an eps network with guidance, nothing else: the least any program does."""
    for sigma, following in pairwise(sigmas):
        both = torch.cat([x, x]) * (sigma**2 + 1) ** -0.5
        cond, uncond = network(both, sigma.expand(2)).chunk(2)
        x = x + (uncond + scale * (cond - uncond)) * (following - sigma)
    return x


def ours(network: Network, x: Tensor, sigmas: Tensor, *, sampling: Sampling, rescale: float) -> Tensor:
    """The same through k-diffusion's Euler, the denoiser, the uncond plan and guidance."""
    from k_diffusion.sampling import sample_euler

    denoiser = Denoiser(network, sampling)
    host = Conditioning(torch.zeros(1, 77, 2048), torch.zeros(1, 2816), 1280)
    uncond = plan(Uncond("zero", start=0.1, end=0.9), denoiser, host=host, encode=lambda text: host)
    guided = GuidedDenoiser(denoiser, Guidance(7.0, rescale))
    return sample_euler(guided, x, sigmas, extra_args={"cond": host, "uncond": uncond}, disable=True)


def per_step(action: Callable[[], Tensor], repeats: int) -> list[float]:
    """Milliseconds of processor time per step of each repeat, after one that is not counted."""
    action()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        action()
        times.append((time.process_time() - started) * 1000 / STEPS)
    return times


def counted(action: Callable[[], Tensor]) -> dict[str, float]:
    """Tensor operations and the numbers they give, in thousands, per step."""
    with Operations() as seen:
        action()
    return {"operations": seen.operations / STEPS, "thousands": seen.numbers / STEPS / 1000}


def run(side: int, work: int, repeats: int) -> list[dict[str, Any]]:
    """Rows of ms per step: none, eps, v with ZTSNR and CFG rescale, rf; interleaved by repeat."""
    torch.set_num_threads(1)
    network = Network(work)
    x = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
    sigmas = Denoiser(network, Sampling()).get_sigmas(STEPS)
    cases: dict[str, Callable[[], Tensor]] = {"no hook": lambda: bare(network, x * 14.6, sigmas, scale=7.0)}
    for name, sampling, rescale in (
        ("eps", Sampling(), 0.0),
        ("v", Sampling("v"), 0.0),
        ("v ZTSNR, CFG rescale 0.7", Sampling("v", True), 0.7),
        ("rf shift 3", Sampling("rf", shift=3.0), 0.0),
    ):
        levels = Denoiser(network, sampling).get_sigmas(STEPS)
        cases[name] = lambda s=sampling, r=rescale, v=levels: ours(network, x * v[0], v, sampling=s, rescale=r)  # type: ignore[misc]
    found: dict[str, list[float]] = {name: [] for name in cases}
    with torch.no_grad():
        counts = {name: counted(case) for name, case in cases.items()}
        for _ in range(repeats):
            for name, case in cases.items():
                found[name] += per_step(case, 1)
    base = statistics.median(found["no hook"])
    return [
        {"case": name, "ms": statistics.median(times), "low": min(times), "high": max(times)}
        | {"more_ms": statistics.median(times) - base}
        | counts[name]
        for name, times in found.items()
    ]


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:]))))
