"""Faults that a training could have, put into the real functions one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from lib_astolfo.diffusion import prediction
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training import losses, noise, objective, times, weights
from lib_astolfo.training.times import Moments

Patch = pytest.MonkeyPatch
Change = Callable[[Patch], None]
V, PLAIN_TIMES = Sampling("v"), times.Times


def wrapped(module: Any, name: str, change: Callable[..., Any]) -> Change:
    """The function of ``module`` replaced by ``change(real, *arguments)``."""

    def apply(patch: Patch) -> None:
        real = getattr(module, name)
        patch.setattr(module, name, lambda *arguments, **named: change(real, *arguments, **named))

    return apply


def row(name: str, pair: Callable[..., Any]) -> Change:
    """The pair (p, q) of F = p x0 + q n replaced in the table of predictions."""
    return lambda patch: patch.setitem(prediction.TABLE, name, replace(prediction.TABLE[name], pair=pair))


def _swapped(real: Any, *arguments: Any) -> Moments:
    right = real(*arguments)
    return Moments(right.timestep, right.sigma, right.alpha)


def _rootless(real: Any, timestep: torch.Tensor, sampling: Sampling) -> Moments:
    alphas = times.training_alphas(sampling.zero_terminal_snr)[timestep]
    return Moments(timestep.float(), alphas, 1.0 - alphas)


def _floored(real: Any, *arguments: Any) -> Moments:
    right = real(*arguments)
    return Moments((right.sigma * 999.0).floor().float(), right.alpha, right.sigma)


def _later(real: Any, *arguments: Any) -> Moments:
    right = real(*arguments)
    return Moments(right.timestep + 1.0, right.alpha, right.sigma)


def _curved(real: Any, t: torch.Tensor, sampling: Sampling) -> Moments:
    right = real(t, sampling)
    return Moments(right.timestep, (1.0 - right.sigma**2).sqrt(), right.sigma)


def _other_noise(real: Any, x0: torch.Tensor, drawn: torch.Tensor, *rest: Any, seen: torch.Tensor) -> Any:
    made = real(x0, drawn, *rest, seen=seen)
    return made._replace(target=real(x0, drawn.roll(1, 0), *rest).target)


def _unscaled(real: Any, x0: torch.Tensor, drawn: torch.Tensor, *rest: Any, seen: torch.Tensor) -> Any:
    return real(0.5 * x0, drawn, *rest, seen=seen)


def _kohyas_order(real: Any, moments: Moments, settings: Any, sampling: Sampling) -> torch.Tensor:
    plain = times.at_timestep(moments.timestep.long(), Sampling("v"))
    return real(plain, settings, sampling)


def _weak(real: Any, *arguments: Any) -> Any:
    return noise.Drawn(*(0.9 * each for each in real(*arguments)))


#: What is wrong -> the objective it is seen on, and the fault.
MUTATIONS: dict[str, tuple[str, Change]] = {
    "rf: sign of u": ("rf uniform", row("rf", lambda a, s, w: (torch.ones_like(a), -torch.ones_like(a)))),
    "rf: u without the picture": ("rf uniform", row("rf", lambda a, s, w: (torch.zeros_like(a), torch.ones_like(a)))),
    "rf: path of diffusion": ("rf uniform", wrapped(times, "at", _curved)),
    "rf: alpha and sigma swapped": ("rf logit-normal", wrapped(times, "at", _swapped)),
    "rf: timestep rounded down to 999 t": ("rf uniform", wrapped(times, "at", _floored)),
    "rf: shift undone": ("rf shift 3", wrapped(times, "shifted", lambda real, t, shift: real(t, 1.0 / shift))),
    "rf: uniform for logit-normal": ("rf logit-normal", wrapped(times, "quantile", lambda real, settings, p: p)),
    "v: sign": ("v", row("v", lambda a, s, w: (s, -a))),
    "v: alpha and sigma swapped in the target": ("v", row("v", lambda a, s, w: (-a, s))),
    "v: alpha and sigma swapped": ("v", wrapped(times, "at_timestep", _swapped)),
    "v: without the root": ("v", wrapped(times, "at_timestep", _rootless)),
    "v: zero terminal SNR left out": ("v ZTSNR", wrapped(times, "training_alphas", lambda real, zero: real(False))),
    "v: SNR before zero terminal SNR": ("v ZTSNR min-SNR", wrapped(weights, "weight", _kohyas_order)),
    "v: weighed as eps": ("v ZTSNR min-SNR", wrapped(weights, "weight", lambda f, m, w, s: f(m, w, Sampling("eps")))),
    "eps: alpha and sigma swapped": ("eps", wrapped(times, "at_timestep", _swapped)),
    "eps: without the root": ("eps", wrapped(times, "at_timestep", _rootless)),
    "eps: weighed as v": ("eps min-SNR", wrapped(weights, "weight", lambda f, m, w, s: f(m, w, V))),
    "eps: debiased without the root": ("eps debiased", wrapped(weights, "weight", lambda f, *rest: f(*rest) ** 2)),
    "eps: target is v": ("eps", row("eps", lambda a, s, w: (-s, a))),
    "eps: target is the picture": ("eps", row("eps", lambda a, s, w: (torch.ones_like(a), torch.zeros_like(a)))),
    "eps: another item's noise": ("eps", wrapped(objective, "make", _other_noise)),
    "noise too weak": ("v", wrapped(noise, "draw", _weak)),
    "pictures scaled twice": ("v", wrapped(objective, "make", _unscaled)),
    "timestep one too high": ("v", wrapped(times, "at_timestep", _later)),
    "half the loss": ("eps", wrapped(losses, "per_item", lambda real, *rest: 0.5 * real(*rest))),
    "root of the loss": ("eps", wrapped(losses, "per_item", lambda real, *rest: real(*rest).sqrt())),
}
