"""The memory of a run: its settings and the loaded model as a choice, against what is free now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from lib_astolfo.hosts.base import LoadedModel
from lib_astolfo.training.memory.advice import cheapest, check
from lib_astolfo.training.memory.estimate import GIB, Choice, Estimate, Standing, estimate
from lib_astolfo.training.memory.free import free, standing

if TYPE_CHECKING:
    from lib_astolfo.training.run.settings import RunSettings

TOKENS = 231  # three chunks of text; one has 77, which is 0.04 GiB less for SDXL
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choice_of(settings: RunSettings, now: Standing, device: torch.device, processes: int = 1) -> Choice:
    """What the settings ask for, at the largest resolution of their phases."""
    from lib_astolfo.training.run.compute import choose

    form = settings.form
    network = {DTYPES[dtype] for name, dtype in now.dtypes.items() if dtype in DTYPES and name in now.part("unet")}
    trained = network if form.kind == "in_place" else {form.torch_dtype}
    autocast = choose(settings.compute, device, network, trained).dtype
    sizes = [settings.data_of(number).buckets for number in range(len(settings.phases.phases))]
    largest = max(sizes, key=lambda size: size.width * size.height)
    own = 1.0 if form.kind == "in_place" else 0.0
    return Choice(
        form,
        settings.optimiser.optimiser,
        settings.optimiser.precision,
        settings.optimiser.fused,
        settings.checkpointing,
        settings.batch,
        -(-settings.accumulate // processes),
        largest.width,
        largest.height,
        TOKENS,
        0 if autocast is None else autocast.itemsize,
        ("cpu" if settings.ema.device == "cpu" else "device") if settings.ema.decay else "",
        settings.show.ratio not in (0.0, own) or settings.show.weights == "ema",
    )


def table(settings: RunSettings, now: Standing, chosen: Sequence[str], processes: int = 1) -> dict[str, Any]:
    """For a report before the start: ``parts``, ``needed``, ``free`` (None: not known) in bytes; ``fits``; and where it
    does not, ``instead``: the settings that give up least among those that fit, and what they need."""
    device = torch.device(now.device)
    choice = choice_of(settings, now, device, processes)
    names = [name for name in chosen if name in now.shapes]
    found, unused = estimate(now, names, choice), free(device)
    fits = unused is None or found.needed <= unused
    made: dict[str, Any] = {"parts": dict(found.parts), "needed": found.needed, "free": unused, "fits": fits}
    if unused is not None and not fits:
        fit = cheapest(now, names, choice, unused)
        made["instead"] = None if fit is None else {"settings": list(fit.settings), "needed": fit.estimate.needed}
    return made


def review(
    settings: RunSettings, model: LoadedModel, chosen: Sequence[str], processes: int = 1
) -> tuple[Estimate, tuple[str, ...]]:
    """The estimate and what to tell of it, the same for the same settings and model.

    Raises Failed where it does not fit and ``settings.memory`` is refuse.
    """
    now = standing(model)
    choice = choice_of(settings, now, model.device, processes)
    unused = free(model.device)
    names = [name for name in chosen if name in now.shapes]
    refused = settings.memory == "refuse"
    found = check(now, names, choice, unused) if refused else estimate(now, names, choice)
    told = f"memory: about {found.needed / GIB:.1f} GiB on {now.device} besides what is loaded"
    told += f", {found.elsewhere / GIB:.1f} GiB of the system's" if found.elsewhere else ""
    told += ": more than is free" if unused is not None and found.needed > unused else ""
    return found, (told + ".",)
