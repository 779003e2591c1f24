"""The unconditional side of classifier-free guidance: what stands there, and on which noise levels.

Zero is what sgm trains with (its dropout multiplies the embedding by 0, sgm/modules/encoders/modules.py:151-161)
and A1111 samples SDXL with (modules/sd_models_xl.py:31-32); null is the encoded empty text, which kohya's scripts
train with (library/train_util.py:829-837) and ComfyUI samples with. The size ids are never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..errors import BadInput
from .conditioning import Conditioning
from .plain import from_plain

MODES: tuple[str, ...] = ("host", "zero", "null", "comma", "text", "average")
TEXTS: dict[str, str] = {"null": "", "average": "", "comma": ","}


@dataclass(frozen=True)
class Uncond:
    """Which uncond to use.

    ``mode``: ``host`` (the negative prompt as the host encodes it), ``zero``, ``null`` (the encoded empty text),
    ``comma`` (the encoded ","), ``text`` (the encoded ``text``), ``average`` (``weight`` null + rest zero).
    ``weight``: 0 to 1, used by ``average``. ``text``: used by ``text``.
    ``start``, ``end``: share of the schedule, 0 (pure noise) to 1 (clean); outside it the host's uncond stays.
    """

    mode: str = "host"
    weight: float = 1.0
    text: str = ""
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise BadInput("uncond", repr(self.mode), "one of " + ", ".join(MODES))
        if not isinstance(self.text, str) or any("\ud800" <= sign <= "\udfff" for sign in self.text):
            raise BadInput("uncond text", repr(self.text), "a text that UTF-8 can hold")
        if self.mode == "text" and not self.text:
            raise BadInput("uncond text", "nothing", 'a text; for the encoded empty text use the mode "null"')
        for name in ("weight", "start", "end"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0.0 <= value <= 1.0:
                raise BadInput(f"uncond {name}", repr(value), "a number from 0 to 1")
            object.__setattr__(self, name, float(value))
        if self.start >= self.end:
            raise BadInput("uncond start", self.start, f"less than uncond end, which is {self.end:g}")

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the options that were set but that this mode does not use."""
        names = []
        if self.mode != "average" and self.weight != 1.0:
            names.append("weight")
        if self.mode != "text" and self.text:
            names.append("text")
        if self.mode == "host" and (self.start, self.end) != (0.0, 1.0):
            names.append("range")
        return tuple(names)

    def to_dict(self) -> dict[str, str | float]:
        """Plain values, for YAML, JSON and headers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Uncond:
        """The opposite of ``to_dict``; missing keys take their defaults. Raises BadInput for unknown keys."""
        return from_plain(cls, values, "uncond")

    def describe(self) -> str:
        """A few words, as ``null`` or ``average 0.7, 20-100 %``."""
        words = self.mode
        if self.mode == "average":
            words += f" {self.weight:g}"
        elif self.mode == "text":
            words += f" {self.text!r}"
        if (self.start, self.end) != (0.0, 1.0) and self.mode != "host":
            words += f", {100 * self.start:g}-{100 * self.end:g} %"
        return words


def webui_zeroes(texts: Sequence[str], *, negative: bool) -> bool:
    """Whether A1111 and reForge give SDXL zero for a prompt: an empty negative one, in all phases of its schedule.

    modules/sd_models_xl.py:31-32; a blank, a comma or BREAK is encoded.
    """
    return negative and all(text == "" for text in texts)


def zero(cond: Conditioning) -> Conditioning:
    """Text tokens and pooled text are zero, the size ids are kept; as many tokens as ``cond`` has."""
    vector = cond.vector
    if vector is not None:
        vector = vector.clone()
        vector[:, : cond.pooled] = 0
    return replace(cond, crossattn=torch.zeros_like(cond.crossattn), vector=vector)


def average(a: Conditioning, b: Conditioning, weight: float) -> Conditioning:
    """``weight`` a + (1 - ``weight``) b on tokens and pooled text alike; the size ids are a's.

    b is cut or filled with zeros to a's tokens, as ComfyUI's ConditioningAverage does (nodes.py, class
    ConditioningAverage).
    """
    other = torch.zeros_like(a.crossattn)
    shared = min(a.tokens, b.tokens)
    other[:, :shared] = b.crossattn[:, :shared].to(other)
    crossattn = _mix(a.crossattn, other, weight)
    vector = a.vector
    if vector is not None and b.vector is not None:
        vector = vector.clone()
        vector[:, : a.pooled] = _mix(vector[:, : a.pooled], b.vector[:, : b.pooled].to(vector), weight)
    return replace(a, crossattn=crossattn, vector=vector)


def _mix(a: Tensor, b: Tensor, weight: float) -> Tensor:
    return a * weight + b * (1.0 - weight)


def resolve(uncond: Uncond, *, host: Conditioning, encode: Callable[[str], Conditioning]) -> Conditioning:
    """The uncond that ``uncond`` names, in place of the host's.

    ``host``: the host's own uncond, whose batch, tokens and size ids are taken over. ``encode(text)``: one text as a
    positive prompt (so that an empty one is not zeroed), a batch of one or of the host's size.
    """
    if uncond.mode == "host":
        return host
    if uncond.mode == "zero":
        return zero(host)
    text = TEXTS.get(uncond.mode, uncond.text)
    encoded = _with_ids(encode(text).expand(len(host)), host)
    if uncond.mode == "average":
        return average(encoded, zero(encoded), uncond.weight)
    return encoded


def _with_ids(cond: Conditioning, host: Conditioning) -> Conditioning:
    if cond.vector is None or host.vector is None:
        return cond
    ids = host.vector[:, host.pooled :].to(cond.vector)
    return replace(cond, vector=torch.cat([cond.vector[:, : cond.pooled], ids], dim=1))


class Percents(Protocol):
    """A denoiser, as far as ``plan`` needs it."""

    def percent_to_sigma(self, percent: float) -> float:
        """The noise level at a share of the schedule."""
        ...


@dataclass(frozen=True, eq=False)
class UncondPlan:
    """Two unconds and the noise levels on which the first one stands.

    ``chosen`` is used where ``sigma_end`` <= sigma <= ``sigma_start``, ``host`` elsewhere: there always is one, for
    without an uncond a guidance scale other than 1 would multiply the picture.
    """

    chosen: Conditioning
    host: Conditioning
    sigma_start: float = math.inf
    sigma_end: float = 0.0

    @property
    def everywhere(self) -> bool:
        """Whether ``chosen`` stands on every noise level."""
        return self.sigma_start == math.inf and self.sigma_end <= 0.0

    def at(self, sigma: Tensor) -> Conditioning:
        """The uncond for noise level ``sigma`` [B] (all members have the same), in the denoiser's coordinates."""
        if self.everywhere or self.sigma_end <= float(sigma.max()) <= self.sigma_start:
            return self.chosen
        return self.host

    @classmethod
    def always(cls, cond: Conditioning) -> UncondPlan:
        """One uncond for all noise levels."""
        return cls(cond, cond)


def plan(
    uncond: Uncond, denoiser: Percents, *, host: Conditioning, encode: Callable[[str], Conditioning]
) -> UncondPlan:
    """``resolve`` with the range of ``uncond`` turned into noise levels of ``denoiser``."""
    chosen = resolve(uncond, host=host, encode=encode)
    start = math.inf if uncond.start <= 0.0 else denoiser.percent_to_sigma(uncond.start)
    end = 0.0 if uncond.end >= 1.0 else denoiser.percent_to_sigma(uncond.end)
    return UncondPlan(chosen, host, start, end)
