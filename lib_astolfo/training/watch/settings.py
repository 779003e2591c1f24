"""The settings of watching: what is measured and when, and what an alarm leads to."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.training import checks
from lib_astolfo.training.watch.alarms import ACTIONS

TIMES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)  # of validation, as EveryDream2 users look at them
DRIFT_SIGMAS = (0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Validation:
    """Losses on pictures with fixed noise at fixed noise levels, so that two figures differ by the weights alone.

    ``share``: of the pictures, held out and never trained on; at least one picture from 7 pictures on, else none.
    ``every``: steps between two measurements, 0 never; one stands before the first step and one after the last.
    ``most``: pictures of each set that are looked at. ``times``: the levels, t in 0 to 1 (``training.times.at``).
    ``trained``: as many of the trained pictures are looked at in the same way; that curve falls with learning while
    the other rises with learning by heart. ``seed``: of the noise and of who is held out.
    """

    share: float = 0.15
    every: int = 100
    most: int = 32
    times: tuple[float, ...] = TIMES
    trained: bool = True
    seed: int = 555

    def __post_init__(self) -> None:
        checks.number(self, "share", "watch.validation", (0.0, 0.9))
        checks.number(self, "every", "watch.validation", (0, 10**9), whole=True)
        checks.number(self, "most", "watch.validation", (1, 10**6), whole=True)
        checks.number(self, "seed", "watch.validation", (0, 2**63 - 1), whole=True)
        checks.flag(self, "trained", "watch.validation")
        _spread(self, "times", "watch.validation", (0.0, 1.0))


@dataclass(frozen=True)
class Drift:
    """How far apart the network's answers under zero and under the empty text are, and which is nearer the picture.

    ``every``: steps between two measurements, 0 never. ``pictures``: held-out ones if there are any, else trained ones.
    ``sigmas``: noise levels σ/α; those outside the schedule are left out.
    """

    every: int = 0
    pictures: int = 16
    sigmas: tuple[float, ...] = DRIFT_SIGMAS

    def __post_init__(self) -> None:
        checks.number(self, "every", "watch.drift", (0, 10**9), whole=True)
        checks.number(self, "pictures", "watch.drift", (2, 10**4), whole=True)
        _spread(self, "sigmas", "watch.drift", (1e-3, 1e4))


@dataclass(frozen=True)
class Watching:
    """``window``: steps that a curve is averaged over. ``tensorboard``: event files are written too."""

    validation: Validation = field(default_factory=Validation)
    drift: Drift = field(default_factory=Drift)
    window: int = 50
    tensorboard: bool = True

    def __post_init__(self) -> None:
        checks.number(self, "window", "watch", (1, 10**6), whole=True)
        checks.flag(self, "tensorboard", "watch")


@dataclass(frozen=True)
class Guards:
    """What each detector leads to (``alarms.ACTIONS``; none: it does not look), and where it sees something.

    ``nonfinite``: ``skips`` steps in a row were skipped because the loss or a gradient was not finite.
    ``jump``: over a few steps the loss is ``jump_factor`` times what was usual at these noise levels.
    ``divergence``: over two windows of the history it is ``divergence_factor`` times the best window there was.
    ``collapse``: previews are blurred, noise, of one colour, or in fragments, where the base's own are not.
    ``learned_by_heart``: the validation loss has risen three times in a row, the trained pictures' fell.
    ``drift``: the zero branch has been left behind, where it was not at the start.
    ``stuck``: no weight moved for twenty steps. ``rate``: factor of the learning rates after each roll-back.
    """

    nonfinite: str = "rollback"
    jump: str = "rollback"
    divergence: str = "stop"
    collapse: str = "stop"
    learned_by_heart: str = "note"
    drift: str = "note"
    stuck: str = "note"
    skips: int = 3
    jump_factor: float = 4.0
    divergence_factor: float = 1.5
    collapse_strength: float = 1.0
    rate: float = 0.5
    rollbacks: int = 3

    def __post_init__(self) -> None:
        for name in ("nonfinite", "jump", "divergence", "collapse", "learned_by_heart", "drift", "stuck"):
            checks.choice(self, name, "guards", ("none", *ACTIONS))
        checks.number(self, "skips", "guards", (1, 10**6), whole=True)
        checks.number(self, "rollbacks", "guards", (0, 10**6), whole=True)
        checks.number(self, "jump_factor", "guards", (1.1, 1e6))
        checks.number(self, "divergence_factor", "guards", (1.01, 1e6))
        checks.number(self, "collapse_strength", "guards", (0.1, 10.0))
        checks.number(self, "rate", "guards", (0.0, 1.0))


@dataclass(frozen=True)
class Previews:
    """Pictures drawn meanwhile by the host's own pipeline: every prompt at every ratio, uncond and seed.

    ``every``: steps between two, 0 never; ``at_start``: before the first step too, which is what collapse is measured
    against. ``ratios``: 0 is the base, 1 what was trained. ``width``, ``height``: pixels, 0 the model's own size.
    ``weights``: trained, or ema. ``rows``: most times that the contact sheet shows; the first and the last stay.
    """

    every: int = 0
    at_start: bool = True
    prompts: tuple[str, ...] = ()
    negative: str = ""
    ratios: tuple[float, ...] = (1.0,)
    unconds: tuple[Uncond, ...] = (Uncond(),)
    seeds: tuple[int, ...] = (1, 2)
    steps: int = 20
    cfg: float = 5.0
    sampler: str = "Euler"
    width: int = 0
    height: int = 0
    weights: str = "trained"
    rows: int = 40

    def __post_init__(self) -> None:
        checks.number(self, "every", "previews", (0, 10**9), whole=True)
        checks.number(self, "rows", "previews", (2, 200), whole=True)
        checks.flag(self, "at_start", "previews")
        checks.choice(self, "weights", "previews", ("trained", "ema"))
        for name in ("prompts", "unconds", "seeds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _spread(self, "ratios", "previews", (-10.0, 10.0))
        if self.every and not self.prompts:
            raise BadInput("previews.prompts", "none", "at least one prompt, or previews.every 0")
        if not self.unconds or not self.seeds:
            raise BadInput("previews", "no uncond or no seed", "at least one of each")


def inert(watching: Watching, guards: Guards, previews: Previews) -> tuple[str, ...]:
    """One sentence for each guard that was chosen and cannot act."""
    held_out = watching.validation.every and watching.validation.share and watching.validation.trained
    idle = {
        "collapse": "" if previews.every else "there are no previews (previews.every is 0)",
        "drift": "" if watching.drift.every else "drift is not measured (watch.drift.every is 0)",
        "learned_by_heart": "" if held_out else "it needs validation with a share and with trained",
    }
    chosen = checks.unused(guards, list(idle))
    return tuple(f"guards.{name} does nothing: {idle[name]}." for name in chosen if idle[name])


def _spread(settings: object, name: str, where: str, bounds: tuple[float, float]) -> None:
    """The field as a tuple of different floats within ``bounds``, in order, else BadInput."""
    low, high = bounds
    values = getattr(settings, name)
    good = isinstance(values, (tuple, list)) and len(values) > 0
    good = good and all(isinstance(v, (int, float)) and not isinstance(v, bool) and low <= v <= high for v in values)
    if not good or len(set(values)) < len(values):
        raise BadInput(f"{where}.{name}", repr(values), f"one or more different numbers from {low:g} to {high:g}")
    object.__setattr__(settings, name, tuple(float(value) for value in values))
