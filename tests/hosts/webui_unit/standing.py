"""Small objects that stand where a WebUI's own do, for tests of the hook that need no WebUI."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints.memory import Memory
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.webui.adapter import LoadedFile, Reading
from lib_astolfo.hosts.webui.decision import Standing
from lib_astolfo.hosts.webui.hook import Hook
from lib_astolfo.hosts.webui.said import Knowledge

HASH = "0123456789"
OWN_SCHEDULES = {"DPM++ 2M": "karras", "DPM++ 2M SDE": "exponential"}


class Guided:
    """A sampler's CFG denoiser: calls the callback at every step, as the WebUIs' do."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook


class Sampler:
    """One pass: asks the callback for the uncond at each noise level, and returns the unconds it would have used."""

    def __init__(self, hook: Hook, name: str, levels: tuple[float, ...] = (14.0, 3.0, 0.5)) -> None:
        self.config = SimpleNamespace(name=name)
        self.model_wrap_cfg = Guided(hook)
        self.levels = levels

    def get_sigmas(self, p: Any, steps: int) -> Tensor:
        return torch.tensor([*self.levels, 0.0])

    def sample(self, p: Any, cond: Tensor, uncond: Tensor) -> list[Tensor]:
        self.get_sigmas(p, len(self.levels))
        return [self._step(cond, uncond, sigma) for sigma in self.levels]

    sample_img2img = sample

    def _step(self, cond: Tensor, uncond: Tensor, sigma: float) -> Tensor:
        params = SimpleNamespace(
            denoiser=self.model_wrap_cfg, text_cond=cond, text_uncond=uncond, sigma=torch.full((len(cond),), sigma)
        )
        self.model_wrap_cfg.hook.cfg_denoiser(params)
        return torch.zeros_like(params.text_uncond[:]) + params.text_uncond


@dataclass
class Processing:
    """The WebUI's processing object, as far as the hook knows it."""

    sampler_name: str = "Euler"
    scheduler: str | None = "Automatic"
    enable_hr: bool = True
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    negative_prompts: list[str] = field(default_factory=lambda: ["", "bad"])
    extra_generation_params: dict[str, str] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)
    sampler: Any = None

    def comment(self, text: str) -> None:
        self.comments.append(text)


@dataclass
class Host:
    """A WebUI with one loaded model without a vector: an adapter whose answers a test may change."""

    own: Sampling | None = field(default_factory=Sampling)
    reason: str = ""
    left_over: bool = False
    readings: list[Reading] = field(default_factory=list)
    failures: int = 0
    told: list[Exception] = field(default_factory=list)
    encoded: list[str] = field(default_factory=list)

    def loaded(self) -> LoadedFile:
        return LoadedFile(None, HASH, "model")

    def own_reading(self, p: Any) -> Sampling | None:
        return self.own

    def own_like(self) -> str:
        return "a1111"

    def foreign(self, p: Any) -> str:
        return self.reason

    def stale(self, p: Any) -> bool:
        return self.left_over

    def no_flow(self, sampler_name: str) -> str:
        return "works on the timesteps of diffusion" if sampler_name in ("DDIM", "UniPC") else ""

    def scheduler_of(self, p: Any, *, hires: bool) -> str:
        name = (p.hr_sampler_name or p.sampler_name) if hires else p.sampler_name
        chosen = (p.hr_scheduler if hires else p.scheduler) or "Automatic"
        return OWN_SCHEDULES.get(name, "") if chosen == "Automatic" else chosen

    def install(self, p: Any, reading: Reading) -> None:
        self.readings.append(reading)

    def failed(self, p: Any) -> None:
        self.failures += 1

    def tell(self, error: Exception) -> None:
        self.told.append(error)

    def encode(self, text: str) -> Conditioning:
        if text == "no such encoder":
            raise BadInput("text", text, "another")
        self.encoded.append(text)
        return Conditioning(torch.full((1, 77, 2), 1.0 + len(text)))

    def seen(self, params: Any) -> None:
        """Nothing is needed later."""

    def sigma(self, params: Any) -> Tensor:
        level: Tensor = params.sigma
        return level

    def pooled(self, width: int) -> int:
        return width

    def pads(self) -> bool:
        return False

    def batch_negatives(self, p: Any) -> list[str]:
        negatives: list[str] = p.negative_prompts
        return negatives


@dataclass
class Stage:
    """The hook on a host. ``standing``: what was set for all."""

    folder: Path
    host: Host = field(default_factory=Host)
    standing: Standing = field(default_factory=Standing)

    def __post_init__(self) -> None:
        self.memory = Memory(self.folder / "memory.json")
        self.hook = Hook(self.host, Knowledge(lambda: self.memory), lambda: self.standing)

    def generate(self, p: Processing, *args: Any, hires: bool = False) -> list[Tensor]:
        """As a WebUI does it: what a script raises is swallowed, what a sampler raises is not."""
        with suppress(Exception):
            self.hook.process(p, args)
        return self.draw(p, hires=hires)

    def draw(self, p: Processing, *, hires: bool = False) -> list[Tensor]:
        """One pass with a sampler of its own."""
        name = (p.hr_sampler_name or p.sampler_name) if hires else p.sampler_name
        p.sampler = Sampler(self.hook, name)
        with suppress(Exception):
            self.hook.before_sampling(p)
        cond, uncond = torch.full((2, 77, 2), 9.0), torch.full((2, 77, 2), 5.0)
        run = p.sampler.sample_img2img if hires else p.sampler.sample
        unconds: list[Tensor] = run(p, cond, uncond)
        assert bool((uncond == 5.0).all())
        return unconds


def values(unconds: list[Tensor]) -> list[list[float]]:
    """For each step the value of each picture's uncond."""
    return [[float(row.unique()) for row in step] for step in unconds]
