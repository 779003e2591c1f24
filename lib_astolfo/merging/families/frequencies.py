"""Crossover: low frequencies of one model, high ones of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lib_astolfo.merging.method import Method


def crossover(a: Tensor, b: Tensor, *, alpha: float, tilt: float) -> Tensor:
    """A + F⁻¹(filter·F(B - A)), F the Fourier transform over all dimensions of the tensor.

    ``alpha`` is how much of the spectrum, from the high end, is B's; ``tilt`` from 0, a sharp cut, to 1, where it is a
    weighted sum, and on to 2, a sharp cut that gives B's low frequencies, and back to 4.
    sd-mecha crossover.py, which transforms A and B one by one.
    """
    if alpha in (0, 1):
        return (b if alpha else a).clone()
    dtype = torch.promote_types(a.dtype, torch.float32)
    first, second = a.to(dtype), b.to(dtype)
    if tilt == 1 or not a.dim() or not a.numel():
        return first.lerp(second, alpha).to(a.dtype)
    spectrum = torch.fft.rfftn(second - first)
    spectrum.mul_(_filter(spectrum, alpha, tilt))
    return torch.fft.irfftn(spectrum, s=a.shape).add_(first).to(a.dtype)


def _filter(spectrum: Tensor, alpha: float, tilt: float) -> Tensor:
    """B's share at each frequency: the line that cuts the spectrum is tilted about the origin, then moved until it
    touches (alpha, 1 - alpha). sd-mecha crossover.py, create_filter."""
    tilt = tilt % 4
    turned = tilt > 2
    if turned:
        alpha = 1 - alpha
    share = _distances(spectrum.shape, spectrum.device)
    if tilt < 1e-10 or 4 - tilt < 1e-10:
        share = (share > 1 - alpha).float()
    elif abs(tilt - 2) < 1e-10:
        share = (share < 1 - alpha).float()
    else:
        slope = 1 / math.tan(math.pi * tilt / 2)
        beyond = tilt > 3 or 1 < tilt <= 2
        share.mul_(slope).add_(alpha - alpha * slope if beyond else alpha * slope + alpha - slope).clamp_(0, 1)
    return 1 - share if turned else share


def _distances(shape: Sequence[int], device: torch.device) -> Tensor:
    """Distance of every frequency from zero, 0 to 1: root of the mean square over the dimensions; float32 [shape].

    All dimensions but the last hold the negative frequencies in their second half, as FFTs lay them out.
    """
    axes = [_axis(count, halved=i == len(shape) - 1) for i, count in enumerate(shape)]
    if len(axes) == 1:
        return axes[0].to(device)
    total = torch.zeros(tuple(shape), device=device)
    for i, axis in enumerate(axes):
        total.add_(axis.square().to(device).view(-1, *(1,) * (len(axes) - i - 1)))
    return total.div_(len(axes)).sqrt_()


def _axis(count: int, *, halved: bool) -> Tensor:
    if halved or count == 1:
        return torch.linspace(0, 1, count)
    half = count // 2
    up = torch.linspace(0, (count - 1) // 2, count - half)
    return torch.cat([up, torch.linspace(half, 1, half)]) / half


METHODS: tuple[Method, ...] = (
    Method(
        name="crossover",
        function=crossover,
        inputs=("a", "b"),
        options={"alpha": 0.5, "tilt": 0.0},
        limits={"alpha": (0.0, 1.0)},
        unit="tensor",
        formula="low frequencies of A, high ones of B; ratio is B's share of the spectrum",
        reference="sd-mecha 1.1.8 crossover.py, crossover",
    ),
)
