"""The uncond swap: what a WebUI's on_cfg_denoiser callback puts in place of its own uncond."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.uncond import TEXTS, Uncond, resolve

Encode = Callable[[str], Conditioning]


def read(value: Any, pooled: Callable[[int], int]) -> Conditioning:
    """A WebUI's uncond (SD1, SD2: a tensor; SDXL: a mapping of crossattn and vector) as ours."""
    if not isinstance(value, Mapping):
        return Conditioning(value)
    vector = value.get("vector")
    return Conditioning(value["crossattn"], vector, 0 if vector is None else pooled(vector.shape[1]))


def write(value: Any, cond: Conditioning) -> Any:
    """``cond`` in the form of ``value``, in its dtype and on its device; ``value`` itself is not changed."""
    if not isinstance(value, Mapping):
        return cond.crossattn.to(value)
    made: Any = copy.copy(value)
    made["crossattn"] = cond.crossattn.to(value["crossattn"])
    if cond.vector is not None:
        made["vector"] = cond.vector.to(value["vector"])
    return made


def filled(cond: Conditioning, tokens: int, empty: Encode) -> Conditioning:
    """``cond`` [B, T, C] filled up to ``tokens`` tokens with the encoded empty text, as A1111 does it.

    modules/sd_samplers_cfg_denoiser.py:100-111.
    """
    if cond.tokens >= tokens:
        return cond
    chunk = empty("").crossattn.to(cond.crossattn).expand(len(cond), -1, -1)
    times = -(-(tokens - cond.tokens) // chunk.shape[1])
    longer = torch.cat([cond.crossattn, chunk.repeat(1, times, 1)], dim=1)[:, :tokens]
    return replace(cond, crossattn=longer)


@dataclass
class Swap:
    """The swap of one sampling pass.

    ``encode``: a text as a positive prompt, one row, by the model that is loaded at the moment. ``rows``: which
    pictures of the batch get the uncond (the others keep the host's), None is all. ``pads``: the host fills the shorter
    of prompt and uncond with the encoded empty text. Noise levels are in variance-exploding coordinates.
    """

    uncond: Uncond
    encode: Encode
    pooled: Callable[[int], int]
    model_key: Callable[[], object]
    rows: tuple[bool, ...] | None = None
    pads: bool = False
    sigma_start: float = math.inf
    sigma_end: float = 0.0
    _encoded: dict[tuple[object, str], Conditioning] = field(default_factory=dict)
    _made: dict[tuple[object, int, int], Conditioning] = field(default_factory=dict)

    def __call__(self, value: Any, *, cond_tokens: int, sigma: Tensor) -> Any:
        """The uncond for this step in place of ``value``, for prompts of ``cond_tokens`` tokens at ``sigma`` [n]."""
        if self.uncond.mode == "host" or not (self._everywhere or self._reaches(sigma)):
            return value
        host = read(value, self.pooled)
        rows = self.rows or (True,) * len(host)
        if not any(rows):
            return value
        if all(rows):
            return write(value, self._chosen(host, cond_tokens))
        chosen = self._chosen(host, host.tokens)
        tokens = math.lcm(chosen.tokens, host.tokens)
        return write(value, _by_row(rows, chosen.with_tokens(tokens), host.with_tokens(tokens)))

    @property
    def _everywhere(self) -> bool:
        return self.sigma_start == math.inf and self.sigma_end <= 0.0

    def _reaches(self, sigma: Tensor) -> bool:
        """All pictures of a batch are at one level."""
        return self.sigma_end <= float(sigma.flatten()[0]) <= self.sigma_start

    def prepare(self) -> None:
        """Encode what will be needed by the model that is loaded now, where that cannot take memory from the sampler.

        Within a step, reForge would move the network out of the way of the text encoders on a small card.
        """
        if self.uncond.mode in ("host", "zero"):
            return
        texts = [TEXTS.get(self.uncond.mode, self.uncond.text), *([""] if self.pads else ())]
        for text in texts:
            self._encode(text)

    def _chosen(self, host: Conditioning, tokens: int) -> Conditioning:
        """Zero has as many tokens as the prompt, so that nothing is filled in beside it.

        Made once: of the host's it takes over batch and size ids, which stay what they are within a pass.
        """
        key = (self.model_key(), tokens, len(host))
        if key not in self._made:
            taken = _with_tokens(host, tokens) if self.uncond.mode == "zero" else host
            self._made[key] = resolve(self.uncond, host=taken, encode=lambda text: self._padded(text, tokens))
        return self._made[key]

    def _padded(self, text: str, tokens: int) -> Conditioning:
        encoded = self._encode(text)
        return filled(encoded, tokens, self._encode) if self.pads else encoded

    def _encode(self, text: str) -> Conditioning:
        key = (self.model_key(), text)
        if key not in self._encoded:
            self._encoded[key] = self.encode(text)
        return self._encoded[key]


def _with_tokens(cond: Conditioning, tokens: int) -> Conditioning:
    """Of other length; only where the values do not matter."""
    return replace(cond, crossattn=cond.crossattn.new_zeros(len(cond), tokens, cond.crossattn.shape[2]))


def _by_row(rows: tuple[bool, ...], chosen: Conditioning, host: Conditioning) -> Conditioning:
    take = torch.tensor(rows, device=host.crossattn.device)
    crossattn = torch.where(take[:, None, None], chosen.crossattn.to(host.crossattn), host.crossattn)
    vector = host.vector
    if vector is not None and chosen.vector is not None:
        vector = torch.where(take[:, None], chosen.vector.to(vector), vector)
    return replace(host, crossattn=crossattn, vector=vector)


class Broken:
    """Stands where an uncond could not be made: whatever the host does with it raises the reason.

    The WebUIs catch what a callback raises and go on without it (modules/script_callbacks.py, report_exception).
    """

    def __init__(self, error: Exception) -> None:
        object.__setattr__(self, "error", error)

    def __getattr__(self, name: str) -> NoReturn:
        raise self.error

    def __getitem__(self, key: object) -> NoReturn:
        raise self.error
