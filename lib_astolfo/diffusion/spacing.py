"""How n steps are spread over the noise levels: the schedules, under the names of the WebUIs.

Where hosts differ the plain name is the better form: ``beta`` is ComfyUI's and reForge's in timesteps (A1111's in
sigma spends 27 of 28 steps of a zero terminal SNR model where there is only noise), ``normal`` and ``sgm_uniform`` are
A1111's over the table (ComfyUI's shift rectified flow's lowest level twice), ``kl_optimal`` ends at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ..errors import BadInput

if TYPE_CHECKING:
    from .levels import Levels

MAX_STEPS = 1000
Spacing = Callable[..., Tensor]

# Sabour et al. 2024, arXiv:2404.14507; the figures of NVIDIA's page for SDXL and SD 1.5.
ALIGN_YOUR_STEPS: dict[str, tuple[float, ...]] = {
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "sd1": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
}


class HasLevels(Protocol):
    """What a schedule needs of a denoiser."""

    levels: Levels

    def from_level(self, level: Tensor) -> Tensor:
        """A noise level of the process in the sampler's coordinates."""
        ...


@dataclass(frozen=True)
class Schedule:
    """A registered schedule; call it for the sigmas of a denoiser.

    ``spacing(levels, n, **options)`` gives n falling noise levels and a 0 in the process's own coordinates.
    """

    name: str
    label: str
    spacing: Spacing
    help: str

    def __call__(self, denoiser: HasLevels, n: int, **options: float | str) -> Tensor:
        """n + 1 sigmas in the denoiser's coordinates, falling, the last one 0; float32. n from 1 to 1000.

        ``ddim`` may give more than n + 1, the ``kl_optimal_hosts`` do not end at 0: as the hosts do it.
        """
        if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MAX_STEPS:
            raise BadInput("steps", repr(n), f"a whole number from 1 to {MAX_STEPS}")
        return denoiser.from_level(self.spacing(denoiser.levels, n, **options))


def _ended(levels: Tensor) -> Tensor:
    return torch.cat([levels.float(), levels.new_zeros(1, dtype=torch.float32)])


def _line(start: float, end: float, n: int) -> Tensor:
    return torch.linspace(start, end, n)


def normal(levels: Levels, n: int) -> Tensor:
    """Even places in the table from the highest to the lowest level; k_diffusion/external.py:59-64."""
    return _ended(levels.at(_line(len(levels.sigmas) - 1, 0, n)))


def normal_comfy(levels: Levels, n: int) -> Tensor:
    """Even timesteps; comfy/samplers.py normal_scheduler. diffusers' flow matching default gives the same."""
    return _ended(levels.from_timestep(_line(*_timestep_ends(levels), n)))


def sgm_uniform(levels: Levels, n: int) -> Tensor:
    """As ``normal`` with one step more, without the last; A1111 modules/sd_schedulers.py sgm_uniform."""
    return _ended(levels.at(_line(len(levels.sigmas) - 1, 0, n + 1)[:-1]))


def sgm_uniform_comfy(levels: Levels, n: int) -> Tensor:
    """As ``normal_comfy`` with one step more, without the last; comfy/samplers.py normal_scheduler(sgm=True)."""
    return _ended(levels.from_timestep(_line(*_timestep_ends(levels), n + 1)[:-1]))


def _timestep_ends(levels: Levels) -> tuple[float, float]:
    return float(levels.timestep(levels.sigma_max)), float(levels.timestep(levels.sigma_min))


def simple(levels: Levels, n: int) -> Tensor:
    """Every 1000/n-th level from the top; comfy/samplers.py simple_scheduler, A1111 too."""
    step = len(levels.sigmas) / n
    return _ended(levels.sigmas[[len(levels.sigmas) - 1 - int(i * step) for i in range(n)]])


def trailing(levels: Levels, n: int) -> Tensor:
    """Whole timesteps back from 999; diffusers timestep_spacing="trailing", Lin et al. 2023, table 2."""
    count = len(levels.sigmas)
    return _ended(levels.sigmas[[round(count - i * count / n) - 1 for i in range(n)]])


def ddim(levels: Levels, n: int) -> Tensor:
    """Every (1000 // n)-th level from the second; A1111 and comfy ddim_uniform. May be longer than n + 1."""
    step = max(len(levels.sigmas) // n, 1)
    return _ended(levels.sigmas[1::step].flip(0))


def karras(levels: Levels, n: int, *, rho: float = 7.0) -> Tensor:
    """Even steps of sigma^(1/rho); Karras et al. 2022, equation 5."""
    low, high = float(levels.sigma_min) ** (1 / rho), float(levels.sigma_max) ** (1 / rho)
    return _ended((high + _line(0, 1, n) * (low - high)) ** rho)


def exponential(levels: Levels, n: int) -> Tensor:
    """Even steps of log sigma; k_diffusion/sampling.py:26-29."""
    return _ended(_line(math.log(float(levels.sigma_max)), math.log(float(levels.sigma_min)), n).exp())


def polyexponential(levels: Levels, n: int, *, rho: float = 1.0) -> Tensor:
    """Polynomial steps of log sigma; k_diffusion/sampling.py:32-36."""
    low, high = math.log(float(levels.sigma_min)), math.log(float(levels.sigma_max))
    return _ended((_line(1, 0, n) ** rho * (high - low) + low).exp())


def beta(levels: Levels, n: int, *, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Timesteps at quantiles of a beta distribution; Lee et al. 2024, arXiv:2407.12173, comfy/samplers.py."""
    last = len(levels.sigmas) - 1
    places = [last * quantile for quantile in _beta_quantiles([1.0 - i / n for i in range(n)], alpha, beta)]
    whole = [round(round(place, 9)) for place in places]
    if len(set(whole)) < n:  # so many steps that rounding would repeat some: the hosts then make fewer
        return _ended(levels.at(torch.tensor(places)))
    return _ended(levels.sigmas[whole])


def beta_a1111(levels: Levels, n: int, *, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Sigmas at quantiles of a beta distribution; A1111 modules/sd_schedulers.py."""
    low, high = float(levels.sigma_min), float(levels.sigma_max)
    shares = [1.0 - i / (n - 1) if n > 1 else 1.0 for i in range(n)]
    return _ended(torch.tensor([low + x * (high - low) for x in _beta_quantiles(shares, alpha, beta)]))


def _beta_quantiles(shares: Sequence[float], alpha: float, beta: float) -> list[float]:
    from scipy.special import betaincinv  # k-diffusion has loaded SciPy by now

    return [float(x) for x in betaincinv(alpha, beta, shares)]


def kl_optimal(levels: Levels, n: int) -> Tensor:
    """Even angles arctan sigma; Sabour et al. 2024, arXiv:2404.14507, for Gaussian data."""
    return _ended(_arctan_line(levels, n))


def kl_optimal_hosts(levels: Levels, n: int) -> Tensor:
    """The same in n steps that end at the lowest level and not at 0, as A1111 and ComfyUI do: some noise is left."""
    return _arctan_line(levels, n + 1)


def _arctan_line(levels: Levels, n: int) -> Tensor:
    low, high = levels.sigma_min.cpu().atan(), levels.sigma_max.cpu().atan()
    share = _line(0, 1, n)
    return (share * low + (1.0 - share) * high).tan()


def align_your_steps(levels: Levels, n: int, *, family: str = "sdxl") -> Tensor:
    """The published levels, log-linear between them, from 14.6; A1111 modules/sd_schedulers.py.

    Not for rectified flow; a zero terminal SNR model starts at 14.6 too, below its own highest level.
    """
    if levels.flow:
        raise BadInput("schedule", "align_your_steps", "another one with rf: its noise levels are those of diffusion")
    if family not in ALIGN_YOUR_STEPS:
        raise BadInput("family", repr(family), "one of " + ", ".join(ALIGN_YOUR_STEPS))
    return _ended(_log_interpolate(ALIGN_YOUR_STEPS[family], n))


def _log_interpolate(points: Sequence[float], n: int) -> Tensor:
    logs = torch.tensor(points, dtype=torch.float64).log()
    places = torch.linspace(0, len(points) - 1, n, dtype=torch.float64)
    low = places.floor().long().clamp(max=len(points) - 2)
    return torch.lerp(logs[low], logs[low + 1], places - low).exp()


def linear_quadratic(levels: Levels, n: int, *, threshold: float = 0.025) -> Tensor:
    """Small even steps in the first half, then growing; Genmo Mochi, comfy/samplers.py. Made for flow."""
    if n == 1:
        return _ended(levels.sigma_max.reshape(1))
    half, rest = n // 2, n - n // 2
    gap = half - threshold * n
    square = gap / (half * rest**2)
    slope = threshold / half - 2.0 * gap / rest**2
    line = [i * threshold / half for i in range(half)]
    curve = [square * i * i + slope * i + square * half**2 for i in range(half, n)]
    return _ended((1.0 - torch.tensor(line + curve, dtype=torch.float64)) * float(levels.sigma_max))


SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        Schedule("normal", "Normal", normal, "even timesteps, the lowest noise level included"),
        Schedule("uniform", "Uniform", normal, "A1111's other name for normal"),
        Schedule("simple", "Simple", simple, "even timesteps from the top"),
        Schedule("sgm_uniform", "SGM Uniform", sgm_uniform, "even timesteps; for zero terminal SNR and flow"),
        Schedule("karras", "Karras", karras, "many steps at low noise"),
        Schedule("exponential", "Exponential", exponential, "even steps of log sigma"),
        Schedule("polyexponential", "Polyexponential", polyexponential, "exponential with an exponent"),
        Schedule("beta", "Beta", beta, "more steps at both ends, in timesteps"),
        Schedule("kl_optimal", "KL Optimal", kl_optimal, "even angles arctan sigma"),
        Schedule("ddim", "DDIM", ddim, "DDIM's timesteps"),
        Schedule("align_your_steps", "Align Your Steps", align_your_steps, "NVIDIA's levels for few steps"),
        Schedule("linear_quadratic", "Linear Quadratic", linear_quadratic, "small steps first; for flow"),
        Schedule("trailing", "Trailing", trailing, "diffusers' trailing timesteps"),
        Schedule("normal_comfy", "Normal (ComfyUI)", normal_comfy, "ComfyUI's normal; differs for flow"),
        Schedule("sgm_uniform_comfy", "SGM Uniform (ComfyUI)", sgm_uniform_comfy, "ComfyUI's; differs for flow"),
        Schedule("beta_a1111", "Beta (A1111)", beta_a1111, "A1111's beta, in sigma"),
        Schedule("kl_optimal_hosts", "KL Optimal (hosts)", kl_optimal_hosts, "ends with some noise left"),
    )
}
