"""One pass of a step: pictures to noise, network, loss, and the backward pass. Nothing is drawn here from shared state.

Schedules and noisy pictures are float32; the network casts for itself. The teacher is the network without what is
trained, asked before it stands in the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.hosts.base import LoadedModel
from lib_astolfo.training import distill, losses, noise, objective, weights
from lib_astolfo.training.data.caches import Tensors
from lib_astolfo.training.forms.form import Form
from lib_astolfo.training.run.compute import Compute
from lib_astolfo.training.run.latents import Latents
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.run.step import Step, rows_of
from lib_astolfo.training.run.texts import Texts
from lib_astolfo.training.times import Moments

Backward = Callable[[Tensor, float], object]
"""``backward(loss, share)``: the pass's loss, a mean over its rows, and what it counts in the step's."""


class Part(NamedTuple):
    """What a pass gave: the ``rows`` that it had (without those put aside), and their losses before and after weights,
    float64 [B] on the CPU."""

    rows: tuple[int, ...]
    raw: Tensor
    weighted: Tensor


@dataclass(frozen=True, eq=False)
class Ready:
    """A pass before the network. ``x0``, ``seen`` (noise): [B, C, h, w] float32 on the device; ``mask`` [B, 1, h, w] or
    None."""

    rows: tuple[int, ...]
    x0: Tensor
    seen: Tensor
    moments: Moments
    made: objective.Made
    mask: Tensor | None


class Grads:
    """Passes of one model and form."""

    def __init__(
        self, settings: RunSettings, model: LoadedModel, form: Form, encoders: tuple[Latents, Texts], compute: Compute
    ) -> None:
        self.settings, self.model, self.form, self.compute = settings, model, form, compute
        self.latents, self.texts = encoders

    def run(self, step: Step, rows: Sequence[int], backward: Backward) -> Part:
        """Compute a pass and call ``backward``. Inside the host's lock and ``model.training()``.

        Pictures that cannot be used have no row, and count as if their loss were zero.
        """
        ready = self._ready(step, rows)
        if ready is None:
            return Part((), torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
        rows = ready.rows
        zeros = [bool(step.zeros[row]) for row in rows]
        planned = [step.plans[row] for row in rows]
        target = self._taught(step, ready, zeros)
        with self.form.attached(checkpointing=self.settings.checkpointing):
            with self.compute.autocast():
                cond = self.texts.conds(planned, zeros).to(self.model.device)
                output = self.model.predict(ready.made.input, ready.made.timestep, cond).float()
            own = self.settings.objective
            raw = losses.per_item(output, target, ready.moments, own.loss, mask=ready.mask)
            factor = weights.weight(ready.moments, own.weights, own.sampling)
            factor = factor * torch.tensor([plan.item.weight for plan in planned], dtype=torch.float64)
            weighted = raw * factor.to(raw)
            backward(weighted.mean(), len(rows) / len(step))
        return Part(rows, raw.detach().double().cpu(), weighted.detach().double().cpu())

    def _ready(self, step: Step, rows: Sequence[int]) -> Ready | None:
        found = self.latents.get(step.data, [step.plans[row] for row in rows])
        usable = [(row, held) for row, held in zip(rows, found, strict=True) if held is not None]
        if not usable:
            return None
        kept = tuple(row for row, _ in usable)
        x0 = torch.stack([held["mean"] for _, held in usable]).float()
        drawn = noise.draw(self.settings.objective.noise, step.draws(kept), tuple(x0.shape[1:]))
        moments = rows_of(step.moments, kept)
        device = self.model.device
        x0, seen = x0.to(device), drawn.seen.to(device)
        made = objective.make(x0, drawn.noise, moments, self.settings.objective.sampling, seen=seen)
        return Ready(kept, x0, seen, moments, made, _masks([held for _, held in usable], x0))

    def _taught(self, step: Step, ready: Ready, zeros: Sequence[bool]) -> Tensor:
        """The target, with the teacher's where it is asked: on those rows alone."""
        settings, target = self.settings.objective.distill, ready.made.target
        chosen = [at for at, row in enumerate(ready.rows) if bool(step.taught[row])]
        if settings is None or not chosen:
            return target
        moments = rows_of(ready.moments, chosen)
        rows = [ready.rows[at] for at in chosen]
        fresh = step.draws(rows).normal("beyond the teacher", ready.x0.shape[1:]).to(ready.x0)
        question = distill.ask(ready.x0[chosen], ready.seen[chosen], moments, settings, fresh=fresh)
        with torch.no_grad():
            planned = [step.plans[row] for row in rows]
            cond = self.texts.conds(planned, [zeros[at] for at in chosen]).to(self.model.device)
            answer = self.ask(question.input, question.timestep, cond).float()
        told = distill.target(answer, question, moments, settings, self.settings.objective.sampling)
        target = target.clone()
        target[chosen] = told.to(target.dtype)
        return target

    def ask(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """The network without what is trained, in its own precision."""
        with self.compute.autocast(False):
            return self.model.predict(x, timestep, cond)


def _masks(held: Sequence[Tensors], x0: Tensor) -> Tensor | None:
    """[B, 1, h, w]; pictures without one have 1."""
    if not any("mask" in one for one in held):
        return None
    whole = torch.ones(x0.shape[-2:])
    return torch.stack([one.get("mask", whole) for one in held])[:, None].to(x0.device)
