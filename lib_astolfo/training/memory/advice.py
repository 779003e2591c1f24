"""Whether a choice fits, and if not, what does with the least given up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from lib_astolfo.checkpoints.layout import UNET
from lib_astolfo.errors import Failed
from lib_astolfo.training.memory.estimate import GIB, TEXT, Choice, Estimate, Standing, component_of, estimate

PRESET = ("output_blocks.2.", "output_blocks.8.")  # OUT02 + OUT08 of SDXL


@dataclass(frozen=True)
class Step:
    """One thing that can be given up. ``cost``: how much is lost by it, for the order. ``words``: the settings."""

    words: str
    cost: float
    change: Callable[[Choice], Choice | None]


@dataclass(frozen=True)
class Fit:
    """``settings``: what to change, "" nothing; ``estimate``: of that choice."""

    settings: tuple[str, ...]
    estimate: Estimate
    choice: Choice
    chosen: tuple[str, ...]


def check(standing: Standing, chosen: Sequence[str], choice: Choice, unused: int | None) -> Estimate:
    """The estimate. Raises Failed where more is needed than the ``unused`` bytes (None: not known), naming the choice
    that gives up least among those that fit."""
    found = estimate(standing, chosen, choice)
    if unused is None or found.needed <= unused:
        return found
    text = (
        f"this training needs {found.needed / GIB:.1f} GiB besides what is loaded, and {max(unused, 0) / GIB:.1f} GiB "
        f"are free on {standing.device} ({'; '.join(found.lines()[:-1])})"
    )
    fitting = cheapest(standing, chosen, choice, unused)
    if fitting is None:
        raise Failed(f"{text}. No choice that is known fits; free some memory, or use smaller pictures")
    change = ", ".join(fitting.settings)
    raise Failed(f"{text}. It would fit, at {fitting.estimate.needed / GIB:.1f} GiB, with {change}")


def cheapest(standing: Standing, chosen: Sequence[str], choice: Choice, unused: int) -> Fit | None:
    """The choice that fits and gives up least, or None."""
    for fit in choices(standing, chosen, choice):
        if fit.estimate.needed <= unused:
            return fit
    return None


def choices(standing: Standing, chosen: Sequence[str], choice: Choice) -> Iterator[Fit]:
    """The choice itself, then others in the order of what they give up: precision before speed before what is
    trained."""
    for what, names, lost in _scopes(standing, chosen, choice):
        for steps in _combined(standing):
            made: Choice | None = what(choice)
            for step in steps:
                made = step.change(made) if made is not None else None
            if made is None:
                continue
            yield Fit((*lost, *(step.words for step in steps)), estimate(standing, names, made), made, tuple(names))


def _combined(standing: Standing) -> list[tuple[Step, ...]]:
    """All sets of steps, the least costly first."""
    steps = [step for step in STEPS if standing.device == "cuda" or "8bit" not in step.words]
    subsets = itertools.chain.from_iterable(itertools.combinations(steps, count) for count in range(len(steps) + 1))
    return sorted(subsets, key=lambda held: sum(step.cost for step in held))


def _scopes(
    standing: Standing, chosen: Sequence[str], choice: Choice
) -> Iterator[tuple[Callable[[Choice], Choice], Sequence[str], tuple[str, ...]]]:
    """What is trained: as chosen, without text encoders, two blocks, a LoRA."""
    yield lambda made: made, chosen, ()
    images = [name for name in chosen if component_of(name) not in TEXT]
    if images and len(images) < len(chosen):
        yield lambda made: made, images, ("select without text encoders",)
    blocks = [name for name in images if name.removeprefix(UNET).startswith(PRESET)]
    if blocks and len(blocks) < len(images) and choice.form.kind not in ("lora", "lokr"):
        yield lambda made: made, blocks, ("select: OUT02+OUT08",)
    if images and choice.form.kind not in ("lora", "lokr"):
        lora = replace(choice.form, kind="lora", rank=16, dtype="fp32")
        yield lambda made: made.with_(form=lora), images, ("form.kind: lora, form.rank: 16",)


def _smaller(choice: Choice) -> Choice | None:
    return choice.with_(passes=choice.batch * choice.passes, batch=1) if choice.batch > 1 else None


def _fused(choice: Choice) -> Choice | None:
    return choice.with_(fused=True) if not choice.fused and choice.passes == 1 else None


def _at_once(choice: Choice) -> Choice | None:
    return choice.with_(fused=True, passes=1) if not choice.fused and choice.passes > 1 else None


def _half(choice: Choice) -> Choice | None:
    held = choice.form
    good = held.dtype == "fp32" and held.kind in ("full", "delta")
    return choice.with_(form=replace(held, dtype="bf16")) if good else None


def _optimiser(name: str) -> Callable[[Choice], Choice | None]:
    lighter = {"adamw8bit": ("adamw", "prodigy"), "adafactor": ("adamw", "prodigy", "adamw8bit", "lion")}
    return lambda choice: choice.with_(optimiser=name) if choice.optimiser in lighter[name] else None


#: What is left as it is costs nothing; the sum of the costs orders the choices.
STEPS: tuple[Step, ...] = (
    Step("ema.device: cpu", 0.5, lambda choice: choice.with_(average="cpu") if choice.average == "device" else None),
    Step("checkpointing: true", 1.0, lambda c: c.with_(checkpointing=True) if not c.checkpointing else None),
    Step("show.ratio: 0", 1.5, lambda choice: choice.with_(pictures=False) if choice.pictures else None),
    Step("batch: 1 and accumulate times as much", 2.0, _smaller),
    Step("optimiser.fused: true", 3.0, _fused),
    Step("form.dtype: bf16", 4.0, _half),
    Step("optimiser.optimiser: adamw8bit", 5.0, _optimiser("adamw8bit")),
    Step("accumulate: 1, optimiser.fused: true", 7.0, _at_once),
    Step("optimiser.optimiser: adafactor", 8.0, _optimiser("adafactor")),
)
