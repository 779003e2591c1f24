"""Losses on pictures that stay the same, with noise that stays the same: what changes is the network."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training import objective as objectives
from lib_astolfo.training.bins import against_oracle
from lib_astolfo.training.draws import Draws
from lib_astolfo.training.losses import Loss, per_item
from lib_astolfo.training.times import Moments, at
from lib_astolfo.training.watch.settings import Validation

T = TypeVar("T")
Network = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""``network(x [B,C,h,w], timestep [B], cond)``: its raw output, under the weights that are looked at."""
LEAST = 7  # pictures from which on one is held out


@dataclass(frozen=True, eq=False)
class Looked:
    """A picture to look at: ``name``, which its noise depends on; ``latent`` [C, h, w]; ``cond``: one row."""

    name: str
    latent: Tensor
    cond: Conditioning


def split(items: Sequence[T], ids: Sequence[str], settings: Validation) -> tuple[list[T], list[T]]:
    """(trained, held out), each in the order given. Who is held out depends on the ``ids`` of the pictures and on the
    seed: a picture that is added moves at most one other. Copies with one id stay together.
    """
    if not settings.share or len(items) < LEAST:
        return list(items), []
    unique = sorted(set(ids), key=lambda name: hashlib.sha256(f"{settings.seed}/{name}".encode()).digest())
    chosen = set(unique[: max(1, round(settings.share * len(unique)))])
    if len(chosen) == len(unique):
        return list(items), []
    out = [name in chosen for name in ids]
    pairs = list(zip(items, out, strict=True))
    return [item for item, held in pairs if not held], [item for item, held in pairs if held]


def some(items: Sequence[T], ids: Sequence[str], settings: Validation) -> list[T]:
    """At most ``settings.most`` of the items, chosen as ``split`` does, in the order given."""
    if len(items) <= settings.most:
        return list(items)
    order = sorted(range(len(items)), key=lambda i: hashlib.sha256(f"{settings.seed}/{ids[i]}".encode()).digest())
    return [items[index] for index in sorted(order[: settings.most])]


@torch.no_grad()
def measure(
    network: Network, items: Sequence[Looked], sampling: Sampling, settings: Validation, *, batch: int = 8
) -> Tensor:
    """The mean squared error of each picture at each of ``settings.times``, float64 [N, T], CPU.

    ``batch``: most rows of a call; a picture's times are its rows.
    """
    moments = at(torch.tensor(settings.times, dtype=torch.float64), sampling)
    found = []
    for item in items:
        noise = Draws(settings.seed, 0, (item.name,)).normal("validation", item.latent.shape)
        losses = []
        for start in range(0, len(settings.times), batch):
            part = _part(moments, slice(start, start + batch))
            count = len(part.timestep)
            x0 = item.latent[None].expand(count, *item.latent.shape)
            made = objectives.make(x0, noise.expand(count, *noise.shape[1:]), part, sampling)
            output = network(made.input, made.timestep, item.cond.expand(count))
            losses.append(per_item(output, made.target, part, Loss()).double().cpu())
        found.append(torch.cat(losses))
    return torch.stack(found) if found else torch.zeros(0, len(settings.times), dtype=torch.float64)


def row(
    name: str, step: int, errors: Tensor, sampling: Sampling, settings: Validation, spectrum: Tensor | None
) -> dict[str, Any]:
    """The history's row of a measurement ``errors`` [N, T]: the mean of each time, and over all of them the mean and
    its standard error over pictures; ``mean`` is ``relative`` where a spectrum is known (``bins.against_oracle``)."""
    moments = at(torch.tensor(settings.times, dtype=torch.float64), sampling)
    relative = None
    if spectrum is not None and len(errors):
        every = [against_oracle(each, moments, sampling, spectrum) for each in errors]
        relative = torch.stack(every)
    each = (errors if relative is None else relative).mean(dim=1)
    return {
        "kind": "validation",
        "step": step,
        "set": name,
        "items": len(errors),
        "times": list(settings.times),
        "levels": moments.ratio.log().tolist(),
        "loss": _means(errors),
        "relative": [] if relative is None else _means(relative),
        "mean": float(each.mean()) if len(each) else math.nan,
        "error": float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else math.nan,
    }


def _means(values: Tensor) -> list[float]:
    return [float(value) for value in values.mean(dim=0)] if len(values) else []


def _part(moments: Moments, rows: slice) -> Moments:
    return Moments(moments.timestep[rows], moments.alpha[rows], moments.sigma[rows])
