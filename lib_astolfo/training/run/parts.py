"""The parts of a run's settings that no other room has: what is trained when, how long, what is kept and watched."""

from __future__ import annotations

from dataclasses import dataclass

from lib_astolfo.errors import BadInput
from lib_astolfo.training import checks
from lib_astolfo.training.optim.phases import Phase
from lib_astolfo.training.optim.schedules import Schedule
from lib_astolfo.training.optim.schedules import check as check_schedule
from lib_astolfo.training.optim.selection import Group

TARGETS = ("zero", "null", "both")
SNAPSHOTS = ("difference", "svd")
DTYPES = ("fp32", "bf16", "fp16")
WEIGHTS = ("trained", "ema")


@dataclass(frozen=True)
class Trained(Group):
    """A group of tensors. ``rate`` 0 is the plan's; another is the peak where the plan has its own peak. ``start``: the
    epoch, from 0, in which it is trained first; ``epochs``: how many of them, 0 to the end. Outside them it is frozen.
    """

    start: int = 0
    epochs: int = 0

    def __post_init__(self) -> None:
        checks.number(self, "rate", "select", (0.0, 100.0))
        checks.number(self, "start", "select", (0, 1_000_000), whole=True)
        checks.number(self, "epochs", "select", (0, 1_000_000), whole=True)
        if not self.name or not self.words:
            raise BadInput("select.words", list(self.words), "a name, and words for what is in the group")

    def active(self, epoch: int) -> bool:
        """Whether it is trained in an epoch, counted from 0."""
        return epoch >= self.start and (not self.epochs or epoch < self.start + self.epochs)


@dataclass(frozen=True)
class Course:
    """How long, and with which learning rate.

    ``rate``: the peak; 0 is 1e-5, with lora and lokr 1e-4, with prodigy 1. ``steps``: the run ends after so many, if
    that is before the last epoch; 0 is no such end. ``kind``, ``warmup`` (a share), ``floor``, ``cycles``, ``stretch``:
    as in ``optim.schedules``. ``phases`` stand instead of ``epochs`` and the curve; the resolution of a phase may be 0
    (the data's own) and its ``rate`` too (the plan's). ``restart``: the optimiser's state is made anew for each phase.
    """

    epochs: int = 10
    rate: float = 0.0
    kind: str = "constant"
    warmup: float = 0.0
    floor: float = 0.1
    cycles: int = 1
    stretch: float = 1.0
    steps: int = 0
    phases: tuple[Phase, ...] = ()
    restart: bool = True

    def __post_init__(self) -> None:
        checks.number(self, "epochs", "plan", (1, 1_000_000), whole=True)
        checks.number(self, "steps", "plan", (0, 1_000_000_000), whole=True)
        checks.number(self, "rate", "plan", (0.0, 100.0))
        for at, phase in enumerate(self.phases or (self.only,)):
            where = f"plan.phases[{at}]" if self.phases else "plan"
            if phase.epochs < 1 or phase.rate < 0 or phase.resolution < 0 or not 0 <= phase.warmup <= 1:
                raise BadInput(
                    where, phase, "1 epoch or more, a rate and a resolution of 0 or more, a warmup of 0 to 1"
                )
            try:
                check_schedule(Schedule(phase.kind, 100, 0, phase.floor, phase.cycles, phase.stretch))
            except BadInput as error:
                raise BadInput(f"{where}.{error.where.partition('.')[2]}", error.found, error.expected) from error

    @property
    def only(self) -> Phase:
        """The one phase of a run without phases."""
        curve = (self.kind, self.warmup, self.floor, self.stretch)
        return Phase(self.epochs, 0, self.rate, *curve, cycles=self.cycles)


@dataclass(frozen=True)
class Dropped:
    """What the network is told where a caption was left out: ``zero`` (all text zero, the size ids kept), ``null``
    (the encoded empty text), or ``both``: zero for a share ``zero`` of them, null for the rest."""

    target: str = "both"
    zero: float = 0.5

    def __post_init__(self) -> None:
        checks.choice(self, "target", "uncond", TARGETS)
        checks.number(self, "zero", "uncond", (0.0, 1.0))


@dataclass(frozen=True)
class Ema:
    """An average of the trained weights. ``decay`` 0 is none; ``device``: cpu costs no GPU memory, "" the weights'."""

    decay: float = 0.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        checks.number(self, "decay", "ema", (0.0, 0.999999))
        checks.choice(self, "device", "ema", ("", "cpu"))


@dataclass(frozen=True)
class Saving:
    """Checkpoints to go on from: every ``minutes`` and every ``steps`` (0 is never), and always on pause, stop, failure
    and shutdown. The newest ``keep`` stay."""

    minutes: float = 10.0
    steps: int = 0
    keep: int = 3

    def __post_init__(self) -> None:
        checks.number(self, "minutes", "save", (0.0, 100_000.0))
        checks.number(self, "steps", "save", (0, 1_000_000_000), whole=True)
        checks.number(self, "keep", "save", (2, 10_000), whole=True)


@dataclass(frozen=True)
class Snapshots:
    """Files of the difference, for merging, grids and baking: every ``epochs`` and every ``steps`` (0 is never), and
    one at the end. ``kind``: ``difference`` (all of it) or ``svd`` (of ``rank``); LoRA and LoKr runs write their own.
    ``dtype``: differences are small numbers, many of which float16 cannot hold. ``weights``: trained, or ema."""

    epochs: int = 1
    steps: int = 0
    kind: str = "difference"
    rank: int = 64
    dtype: str = "bf16"
    weights: str = "trained"

    def __post_init__(self) -> None:
        checks.choice(self, "weights", "snapshots", WEIGHTS)
        checks.number(self, "epochs", "snapshots", (0, 1_000_000), whole=True)
        checks.number(self, "steps", "snapshots", (0, 1_000_000_000), whole=True)
        checks.choice(self, "kind", "snapshots", SNAPSHOTS)
        checks.number(self, "rank", "snapshots", (1, 100_000), whole=True)
        checks.choice(self, "dtype", "snapshots", DTYPES)


@dataclass(frozen=True)
class Showing:
    """What pictures are drawn with while the training has the model: ``ratio`` 0 the base, 1 the ``weights``, which are
    ``trained`` or ``ema``. Both can be changed at any time."""

    ratio: float = 1.0
    weights: str = "trained"

    def __post_init__(self) -> None:
        checks.number(self, "ratio", "show", (-10.0, 10.0))
        checks.choice(self, "weights", "show", WEIGHTS)
