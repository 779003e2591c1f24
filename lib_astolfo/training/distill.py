"""Targets from a frozen teacher: changing what a network predicts without leaving what it knows.

The teacher, a network under a ``Sampling`` of its own, is asked about the very same noisy picture: at the level where
its σ/α equals the student's, with its input scaled to its own path. Its answer is a picture and a noise, and these are
the student's target, exactly (Diff2Flow, Schusterbauer et al. 2025, arXiv:2506.02221, does so from eps to rf).

The teacher's schedule bounds it: plain SDXL ends at σ/α = 14.61 (rf t = 0.936, SNR 0.0047) and begins at 0.0292. Beyond
that it was never trained, so items there keep their real targets. Those above can also be taught (``beyond``): the
teacher is asked at its last level, about a picture that would become the student's input by fresh noise alone. What it
says there is right on average (E[E[x0|z']|z] = E[x0|z] on the Markov chain x0, z', z) and varies far less than pictures
do, but has whatever bias the base has at its last level.

A teacher's answer is divided by α on the way from eps to a picture: up to 14.6 times at the last timestep, its rounding
with it. Let it answer in float32 if its noise levels reach there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..diffusion.plain import from_plain
from ..diffusion.prediction import row_of
from ..diffusion.sampling import Sampling
from ..diffusion.schedule import LIKE
from ..errors import BadInput
from . import checks
from .draws import Draws
from .times import Moments, at_timestep, process

BEYOND = ("pictures", "teacher")
SLACK = 1e-3  # of σ/α, for schedules that were computed in float32


@dataclass(frozen=True)
class Distillation:
    """``teacher``: how its output is read, None as the model says (``read_as`` puts that in); not ``mixed``, which has
    no exact reading. ``share``: of the items within the teacher's range, those that learn from it; the others learn
    from their pictures. ``like``: whose timesteps the teacher is told (``schedule.LIKE``); fractional ones with a1111.
    ``beyond``: from whom items learn that are noisier than the teacher's last level: ``pictures`` or ``teacher``.
    """

    teacher: Sampling | None = None
    share: float = 1.0
    like: str = "a1111"
    beyond: str = "pictures"

    def __post_init__(self) -> None:
        if self.teacher is not None and self.teacher.prediction == "mixed":
            raise BadInput("distill.teacher.prediction", "mixed", "eps, v, x0 or rf: a merge has no exact reading")
        checks.number(self, "share", "distill", (0.0, 1.0))
        checks.choice(self, "like", "distill", LIKE)
        checks.choice(self, "beyond", "distill", BEYOND)

    @property
    def known(self) -> Sampling:
        """The teacher's reading. Raises BadInput as long as nobody has said what the model is."""
        if self.teacher is None:
            raise BadInput("distill.teacher", "null, as the model says", "a reading: there is no model here that says")
        return self.teacher

    def read_as(self, said: Sampling) -> Distillation:
        """With what the model says for a teacher that is None."""
        return self if self.teacher is not None else replace(self, teacher=said)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML, JSON and headers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Distillation:
        """The opposite of ``to_dict``; missing keys take their defaults. Raises BadInput for unknown keys."""
        plain = dict(values)
        if isinstance(plain.get("teacher"), Mapping):
            plain["teacher"] = from_plain(Sampling, plain["teacher"], "distill.teacher")
        elif plain.get("teacher") == "":
            plain["teacher"] = None
        return from_plain(cls, plain, "distill")


class Question(NamedTuple):
    """What to ask the teacher: ``input`` [B, …], ``timestep`` float32 [B]; ``moments`` its own noise levels, ``valid``
    bool [B], CPU: those that it can teach; ``beyond`` bool [B], CPU: those among them that are noisier than its last
    level, ``z`` [B, …]: what the student sees there, float32 or better, None where there are none."""

    input: Tensor
    timestep: Tensor
    moments: Moments
    valid: Tensor
    beyond: Tensor
    z: Tensor | None


def reach(settings: Distillation) -> tuple[float, float]:
    """The σ/α at which the teacher's schedule begins and ends; infinite where it ends in pure noise."""
    if settings.known.prediction == "rf":
        return 0.0, float("inf")
    low, high = at_timestep(torch.tensor([0, -1]), settings.known).ratio.tolist()
    return low, high


def teacher_moments(moments: Moments, settings: Distillation) -> tuple[Moments, Tensor]:
    """The teacher's noise levels at the student's σ/α, and which of them are within its reach, bool [B]."""
    low, high = reach(settings)
    ratio = moments.ratio
    valid = (ratio >= low * (1.0 - SLACK)) & (ratio <= high * (1.0 + SLACK))
    alpha, sigma = moments.alpha, moments.sigma
    flow = settings.known.prediction == "rf"
    total = alpha + sigma if flow else (alpha * alpha + sigma * sigma).sqrt()
    alpha, sigma = alpha / total, sigma / total
    levels = process(settings.known, settings.like)
    told = sigma if flow else ratio.clamp(float(levels.sigma_min), float(levels.sigma_max))
    return Moments(levels.timestep(told), alpha, sigma), valid


def teachable(moments: Moments, settings: Distillation) -> tuple[Tensor, Tensor]:
    """Which noise levels the teacher can teach, bool [B], and which of them lie beyond its last one, bool [B]."""
    _, valid = teacher_moments(moments, settings)
    beyond = moments.ratio > reach(settings)[1] * (1.0 + SLACK)
    if settings.beyond != "teacher":
        beyond = torch.zeros_like(beyond)
    return valid | beyond, beyond


def ask(
    x0: Tensor, noise: Tensor, moments: Moments, settings: Distillation, *, fresh: Tensor | None = None
) -> Question:
    """The teacher's view of α x0 + σ n at the student's ``moments``; ``noise`` is what the student's input has.

    ``fresh``: more noise like it, for items beyond the teacher's last level; without it those are not valid.
    ``input`` has the dtype of ``x0``; it is computed in float32 or better.
    """
    own, valid = teacher_moments(moments, settings)
    alpha, sigma = own.rows(x0)
    beyond, z = torch.zeros_like(valid), None
    if fresh is not None and bool((found := teachable(moments, settings))[1].any()):
        valid, beyond = found
        last = at_timestep(torch.tensor([-1]), settings.known)
        own = Moments(own.timestep, *(torch.where(beyond, end, at) for end, at in _pairs(last, own)))
        z = _seen(x0, noise, moments)
        alpha, sigma = own.rows(x0)
        shared = torch.where(beyond, last.ratio / moments.ratio, torch.ones_like(moments.ratio))
        shared = shared.to(alpha.dtype).to(x0.device).view(alpha.shape)
        noise = shared * noise + (1.0 - shared * shared).sqrt() * fresh
    return Question((alpha * x0 + sigma * noise).to(x0.dtype), own.timestep, own, valid, beyond, z)


def _pairs(last: Moments, own: Moments) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return (last.alpha, own.alpha), (last.sigma, own.sigma)


def _seen(x0: Tensor, noise: Tensor, moments: Moments) -> Tensor:
    alpha, sigma = moments.rows(x0)
    return alpha * x0 + sigma * noise


def target(answer: Tensor, question: Question, moments: Moments, settings: Distillation, student: Sampling) -> Tensor:
    """The student's target from the teacher's raw ``answer`` [B, …] to the ``question``: float32 or better."""
    alpha, sigma = question.moments.rows(answer)
    dtype = alpha.dtype
    row = row_of(settings.known, native=True)
    x0, noise = row.x0_noise(answer.to(dtype), question.input.to(dtype), alpha, sigma)
    alpha, sigma = moments.rows(answer)
    if question.z is not None:
        noise = blend(noise, (question.z.to(dtype) - alpha * x0) / sigma, question.beyond)
    return row_of(student, native=True).target(x0, noise, alpha, sigma)


def chosen(settings: Distillation, valid: Tensor, draws: Draws) -> Tensor:
    """Which items learn from the teacher, bool [B], CPU: a ``share`` of those that are ``valid``."""
    return valid & (draws.uniform("distill")[:, 0] < settings.share)


def blend(real: Tensor, distilled: Tensor, who: Tensor) -> Tensor:
    """``distilled`` for the items of ``who`` bool [B], ``real`` for the others; [B, …]."""
    rows = who.to(real.device).view((-1,) + (1,) * (real.ndim - 1))
    return torch.where(rows, distilled.to(real.dtype), real)
