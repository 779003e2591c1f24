"""All settings of a run: one frozen object from YAML, command line, REST body and tab to the work itself.

Defaults are those of a small data set on SDXL. What is said once here is not said again in a part: the pictures of a
step are ``batch`` times ``accumulate``, over however many processes, and ``seed`` is the seed of everything drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.training import checks
from lib_astolfo.training.data.captions import CaptionSettings
from lib_astolfo.training.data.settings import DataSettings
from lib_astolfo.training.forms.settings import FormSettings
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.optim.phases import Phase, Plan
from lib_astolfo.training.optim.settings import Settings as OptimiserSettings
from lib_astolfo.training.run import reading
from lib_astolfo.training.run.parts import Course, Dropped, Ema, Saving, Showing, Snapshots, Trained
from lib_astolfo.training.run.presets import PRESETS
from lib_astolfo.training.watch.settings import Guards, Previews, Watching

COMPUTE = ("auto", "none", "bf16", "fp16")
MEMORY = ("refuse", "tell")
#: What is said at the top and therefore not in a part.
DERIVED = (
    ("data", "batch_size"),
    ("data", "seed"),
    ("optimiser", "accumulate"),
    ("optimiser", "seed"),
    ("form", "seed"),
)
DEFAULTS = {"batch_size": 1, "accumulate": 1, "seed": 0}
#: Peak learning rates of a plan that says none.
RATES = {"full": 1e-5, "in_place": 1e-5, "delta": 1e-5, "lora": 1e-4, "lokr": 1e-4}


@dataclass(frozen=True)
class RunSettings:
    """A run.

    Attributes:
        name: of the run and its files. ``model``: the checkpoint; "" is the one that is loaded.
        preset: a name in ``presets.PRESETS``, whose values stand under those that are given.
        form: what is trained (a difference, all weights, a LoRA, …) and how it stands in the network.
        select: which tensors, in groups with their own rates and epochs.
        objective: what the network is to predict, on which noise levels, from which targets.
        distill_until: share of the run in which the teacher of ``objective.distill`` is asked.
        uncond: what stands where a caption was left out; how often is ``data.captions.dropout``.
        data: pictures and captions. ``plan``: how long and how fast. ``optimiser``: its rule and precision.
        batch: pictures in memory at once, on each process; ``accumulate``: so many such make one step. A step sees
            ``batch`` times ``accumulate`` pictures, whatever the number of processes.
        compute: autocast of the network: ``none``, ``bf16``, ``fp16`` (with loss scaling), or ``auto``: bf16 on a GPU
            that has it where weights are float32, else none.
        checkpointing: the inside of each block is computed again in the backward pass instead of kept in memory.
        memory: a run that needs more than is free is refused before it starts (``refuse``), or told of (``tell``).
        cache: folder of cached latents and text states, "" is one beside the run.
    """

    name: str = "run"
    model: str = ""
    preset: str = ""
    form: FormSettings = field(default_factory=FormSettings)
    select: tuple[Trained, ...] = (Trained("unet", ("unet",), 0.0),)
    objective: Objective = field(default_factory=Objective)
    distill_until: float = 1.0
    uncond: Dropped = field(default_factory=Dropped)
    data: DataSettings = field(
        default_factory=lambda: DataSettings(captions=CaptionSettings(shuffle=True, keep=1, dropout=0.1))
    )
    plan: Course = field(default_factory=Course)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    batch: int = 1
    accumulate: int = 4
    compute: str = "auto"
    checkpointing: bool = True
    memory: str = "refuse"
    cache: str = ""
    ema: Ema = field(default_factory=Ema)
    watch: Watching = field(default_factory=Watching)
    guards: Guards = field(default_factory=Guards)
    save: Saving = field(default_factory=Saving)
    snapshots: Snapshots = field(default_factory=Snapshots)
    previews: Previews = field(default_factory=Previews)
    show: Showing = field(default_factory=Showing)
    seed: int = 0

    def __post_init__(self) -> None:
        checks.number(self, "batch", "run", (1, 65536), whole=True)
        checks.number(self, "accumulate", "run", (1, 65536), whole=True)
        checks.number(self, "seed", "run", (0, 2**63 - 1), whole=True)
        checks.number(self, "distill_until", "run", (0.0, 1.0))
        checks.choice(self, "compute", "run", COMPUTE)
        checks.flag(self, "checkpointing", "run")
        checks.choice(self, "memory", "run", MEMORY)
        if not self.name or any(sign in self.name for sign in '/\\:*?"<>|\0') or self.name.strip(". ") != self.name:
            raise BadInput("name", repr(self.name), "a name that a file can have")
        if self.preset and self.preset not in PRESETS:
            raise BadInput("preset", repr(self.preset), "one of " + ", ".join(PRESETS))
        if not self.select:
            raise BadInput("select", "no group", "at least one group of tensors")
        for part, key in DERIVED:
            self._derive(part, key)

    def _derive(self, part: str, key: str) -> None:
        held = getattr(self, part)
        right = {"batch_size": self.batch * self.accumulate, "accumulate": self.accumulate, "seed": self.seed}[key]
        if getattr(held, key) not in (right, DEFAULTS[key]):
            said = "batch and accumulate" if key == "batch_size" else key
            raise BadInput(f"{part}.{key}", getattr(held, key), f"nothing: {said} at the top say it ({right})")
        object.__setattr__(self, part, replace(held, **{key: right}))

    @property
    def total(self) -> int:
        """Pictures of a step, over all passes and processes."""
        return self.batch * self.accumulate

    @functools.cached_property
    def phases(self) -> Plan:
        """The plan in phases; a run without them has one. Rates and resolutions are filled in."""
        peak = self.plan.rate or (1.0 if self.optimiser.optimiser == "prodigy" else RATES.get(self.form.kind, 1e-5))
        size = round((self.data.buckets.width * self.data.buckets.height) ** 0.5)

        def filled(phase: Phase) -> Phase:
            return replace(phase, rate=phase.rate or peak, resolution=phase.resolution or size)

        held = tuple(filled(phase) for phase in self.plan.phases or (self.plan.only,))
        return Plan(held, self.total, optimiser=self.optimiser.optimiser, restart=self.plan.restart)

    def data_of(self, phase: int) -> DataSettings:
        """The data of a phase: its resolution, its set of captions (endings of files)."""
        one, data = self.phases.phases[phase], self.data
        wanted = self.plan.phases[phase].resolution if self.plan.phases else 0
        if wanted:
            data = replace(data, buckets=replace(data.buckets, width=wanted, height=wanted))
        if one.captions != "full":
            ends = tuple(f".{one.captions}{end}" for end in (".txt", ".caption"))
            data = replace(data, sources=tuple(replace(each, captions=ends) for each in data.sources))
        return data

    def read_as(self, said: Sampling) -> RunSettings:
        """With what the model says of itself, ``said``, where it is left to the model: the reading of the teacher."""
        distill = self.objective.distill
        if distill is None or distill.teacher is not None:
            return self
        return replace(self, objective=replace(self.objective, distill=distill.read_as(said)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML, JSON and headers."""
        values = reading.plain(self)
        for part, key in DERIVED:
            del values[part][key]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSettings:
        """The opposite of ``to_dict``; missing keys are those of the ``preset``, or the defaults.

        Raises BadInput naming the key in full.
        """
        given = _said(values)
        name = given.get("preset") or ""
        if not isinstance(name, str) or (name and name not in PRESETS):
            raise BadInput("preset", repr(name), "one of " + ", ".join(PRESETS))
        base = reading.build(cls, PRESETS[name], f"preset {name}") if name else cls()
        return reading.build(cls, _underived(given), "", base)


def _underived(given: Mapping[str, Any]) -> dict[str, Any]:
    """With what the base has derived taken back in the parts, so that another batch or seed is not held against it."""
    free = dict(given)
    for part, key in DERIVED:
        held = free.get(part)
        if held is None or isinstance(held, Mapping):
            free[part] = {key: DEFAULTS[key], **(held or {})}
    return free


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """``uncond: zero`` stands for its target; YAML reads the word null as nothing, which here is a name."""
    if not isinstance(values, Mapping):
        raise BadInput("settings", type(values).__name__, "a mapping of keys to values")
    given = dict(values)
    if "uncond" in given and not isinstance(given["uncond"], (Mapping, Dropped)):
        given["uncond"] = {"target": "null" if given["uncond"] is None else given["uncond"]}
    elif isinstance(given.get("uncond"), Mapping) and given["uncond"].get("target", "") is None:
        given["uncond"] = {**given["uncond"], "target": "null"}
    previews = given.get("previews")
    if isinstance(previews, Mapping) and isinstance(previews.get("unconds"), (list, tuple)):
        modes = [
            {"mode": "null" if one is None else one} if one is None or isinstance(one, str) else one
            for one in previews["unconds"]
        ]
        given["previews"] = {**previews, "unconds": modes}
    return given
